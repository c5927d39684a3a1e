//! Databases as Debian packages them: start, use through exec, stop cleanly, start again, crash, start again. What they
//! said was written is there.

use crate::support::{Moat, eventually, kill_9, monitor_of, vm_processes};

/// A database, and how to talk to it.
struct Database {
    image: &'static str,
    options: &'static [&'static str],
    ready: &'static [&'static str],
    /// Writes a row, in place of `{}`.
    write: fn(&str) -> Vec<String>,
    /// Prints all rows, one a line, in order.
    read: &'static [&'static str],
    /// What a clean end looks like.
    exit: &'static str,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

const REDIS: Database = Database {
    image: "localhost/redis",
    options: &[],
    ready: &["redis-cli", "ping"],
    write: |row| words(&["redis-cli", "rpush", "rows", row]),
    read: &["redis-cli", "lrange", "rows", "0", "-1"],
    exit: "Exited (0)",
};

const POSTGRES: Database = Database {
    image: "localhost/postgres",
    options: &[],
    ready: &["psql", "-c", "create table if not exists rows (id serial, row text)"],
    write: |row| words(&["psql", "-c", &format!("insert into rows (row) values ('{row}')")]),
    read: &["psql", "-At", "-c", "select row from rows order by id"],
    exit: "Exited (0)",
};

const MARIADB: Database = Database {
    image: "localhost/mariadb",
    options: &["-e", "MYSQL_ROOT_PASSWORD=secret", "-e", "MYSQL_DATABASE=myapp"],
    ready: &[
        "mariadb",
        "myapp",
        "-e",
        "create table if not exists t (id int auto_increment primary key, r text)",
    ],
    write: |row| words(&["mariadb", "myapp", "-e", &format!("insert into t (r) values ('{row}')")]),
    read: &["mariadb", "myapp", "-BN", "-e", "select r from t order by id"],
    exit: "Exited (0)",
};

impl Database {
    fn exec(&self, moat: &Moat, words: &[&str]) -> crate::support::Answer {
        moat.run(["exec", "db"].iter().chain(words))
    }

    fn wait_until_ready(&self, moat: &Moat) {
        eventually("the database", || self.exec(moat, self.ready).code == 0);
    }

    fn write(&self, moat: &Moat, row: &str) {
        let command = (self.write)(row);
        moat.run(["exec", "db"].into_iter().map(str::to_owned).chain(command)).ok();
    }

    fn rows(&self, moat: &Moat) -> Vec<String> {
        self.exec(moat, self.read).ok().lines().map(str::to_owned).collect()
    }

    fn lives(&self) {
        let moat = Moat::with(&[self.image.strip_prefix("localhost/").expect("a local image")]);
        let options = ["run", "-d", "--name", "db", "--memory", "512m", "--stop-timeout", "100"];
        moat.run(options.iter().chain(self.options).chain(&[self.image])).ok();
        self.wait_until_ready(&moat);
        self.write(&moat, "one");
        self.write(&moat, "two");
        assert_eq!(self.rows(&moat), ["one", "two"]);

        moat.run(["stop", "db"]).ok();
        let status = moat.run(["ps", "-a", "--format", "{{.Status}}"]).ok();
        assert!(status.starts_with(self.exit), "{status}");
        moat.run(["start", "db"]).ok();
        self.wait_until_ready(&moat);
        assert_eq!(self.rows(&moat), ["one", "two"]);

        // The power fails: what was synced is on the disk.
        self.write(&moat, "three");
        let id = moat.only_container();
        let monitor = monitor_of(&id);
        vm_processes(&id).into_iter().chain([monitor]).for_each(kill_9);
        eventually("the crash to be seen", || moat.run(["ps", "-q"]).ok().is_empty());
        moat.run(["start", "db"]).ok();
        self.wait_until_ready(&moat);
        assert_eq!(self.rows(&moat), ["one", "two", "three"]);
        moat.run(["rm", "-f", "db"]).ok();
        moat.assert_clean();
    }
}

#[test]
fn redis_keeps_its_data() {
    REDIS.lives();
}

#[test]
#[ignore = "a long story"]
fn postgres_keeps_its_data() {
    POSTGRES.lives();
}

#[test]
#[ignore = "a long story"]
fn mariadb_keeps_its_data() {
    MARIADB.lives();
}
