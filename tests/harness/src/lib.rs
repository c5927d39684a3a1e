//! The harness of test programs whose tests all need root: the usual command line and output, and one place that decides
//! what happens without root.
//!
//! Such a program is a `[[test]]` with `harness = false`. Each of its modules lists its tests, and `main` lists the
//! modules. A test that is in no list is dead code, which the lints refuse.
//!
//! ```
//! use moat_test_harness::{Test, tests};
//!
//! const TESTS: &[Test] = tests![the_mount_is_private];
//!
//! fn the_mount_is_private() {}
//!
//! fn main() -> std::process::ExitCode {
//!     moat_test_harness::run("mounts a disk", &[TESTS])
//! }
//! ```

use std::process::ExitCode;
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};

/// The variable that leaves the tests that need root out, if its value is 1.
const WITHOUT_ROOT: &str = "MOAT_TEST_WITHOUT_ROOT";

/// A test and its name.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    path: &'static str,
    run: fn(),
}

impl Test {
    /// The function at `path`, as [`tests!`] finds it.
    pub const fn new(path: &'static str, run: fn()) -> Self {
        Self { path, run }
    }

    /// The name as the usual harness has it: the path without the crate.
    fn name(&self) -> &'static str {
        self.path.split_once("::").map_or(self.path, |(_, name)| name)
    }
}

/// The list of the named functions as tests of this module.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        &[$($crate::Test::new(::core::concat!(::core::module_path!(), "::", ::core::stringify!($name)), $name)),*]
    };
}

/// What happens to a test that needs root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is root: the test runs.
    Run,
    /// There is no root, and the user knows: the test is reported as not run.
    LeaveOut,
    /// There is no root, and the user may not have noticed: the test fails.
    Refuse,
}

impl Verdict {
    /// The verdict on this machine, for this user.
    pub fn here() -> Self {
        let left_out = std::env::var_os(WITHOUT_ROOT).is_some_and(|value| value == "1");
        Self::of(nix::unistd::geteuid().is_root(), left_out)
    }

    fn of(is_root: bool, left_out: bool) -> Self {
        match (is_root, left_out) {
            (true, _) => Self::Run,
            (false, true) => Self::LeaveOut,
            (false, false) => Self::Refuse,
        }
    }
}

/// Why a test that `does` what needs root fails without it, and what to do.
pub fn refusal(does: &str) -> String {
    format!("this test {does} and needs root; {WITHOUT_ROOT}=1 leaves it out")
}

/// Runs the tests that the command line asks for. `does` says what each of them needs root for: "mounts a disk".
pub fn run(does: &str, modules: &[&[Test]]) -> ExitCode {
    run_with(Arguments::from_args(), does, modules)
}

/// As [`run`], one test after the other: for tests that look at the whole process.
pub fn run_in_turn(does: &str, modules: &[&[Test]]) -> ExitCode {
    run_with(Arguments { test_threads: Some(1), ..Arguments::from_args() }, does, modules)
}

fn run_with(arguments: Arguments, does: &str, modules: &[&[Test]]) -> ExitCode {
    libtest_mimic::run(&arguments, trials(Verdict::here(), does, modules)).exit_code()
}

fn trials(verdict: Verdict, does: &str, modules: &[&[Test]]) -> Vec<Trial> {
    let trial = |test: &Test| {
        let (test, refusal) = (*test, refusal(does));
        // One that is left out and asked for all the same, by --include-ignored, is refused.
        let run = move || if verdict == Verdict::Run { in_own_thread(test) } else { Err(refusal.into()) };
        Trial::test(test.name(), run).with_ignored_flag(verdict == Verdict::LeaveOut)
    };
    modules.iter().copied().flatten().map(trial).collect()
}

/// A test may change what belongs to its thread, such as its namespaces: no other test gets that thread.
fn in_own_thread(test: Test) -> Result<(), Failed> {
    let thread = thread::Builder::new().name(test.name().to_owned()).spawn(test.run)?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &[Test] = tests![passes, fails];

    fn passes() {
        assert_eq!(thread::current().name(), Some("tests::passes"));
    }

    fn fails() {
        panic!("as it should");
    }

    /// How many of the tests passed, failed and were ignored.
    fn counts(verdict: Verdict, words: &[&str]) -> [u64; 3] {
        let mut arguments = Arguments::from_iter(["program"].iter().chain(words));
        // These tests fail on purpose; a summary of all results must not count them.
        arguments.logfile = Some("/dev/null".into());
        let conclusion = libtest_mimic::run(&arguments, trials(verdict, "does nothing", &[TESTS]));
        [conclusion.num_passed, conclusion.num_failed, conclusion.num_ignored]
    }

    #[test]
    fn with_root_the_tests_run() {
        assert_eq!(counts(Verdict::Run, &[]), [1, 1, 0]);
        assert_eq!(counts(Verdict::Run, &["--exact", "tests::passes"]), [1, 0, 0]);
    }

    #[test]
    fn without_root_no_test_runs() {
        assert_eq!(counts(Verdict::Refuse, &[]), [0, 2, 0]);
        assert_eq!(counts(Verdict::LeaveOut, &[]), [0, 0, 2]);
        assert_eq!(counts(Verdict::LeaveOut, &["--include-ignored"]), [0, 2, 0]);
    }

    #[test]
    fn only_the_user_leaves_tests_out() {
        assert_eq!(Verdict::of(true, true), Verdict::Run);
        assert_eq!(Verdict::of(true, false), Verdict::Run);
        assert_eq!(Verdict::of(false, true), Verdict::LeaveOut);
        assert_eq!(Verdict::of(false, false), Verdict::Refuse);
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        let sentence = "this test mounts a disk and needs root; MOAT_TEST_WITHOUT_ROOT=1 leaves it out";
        assert_eq!(refusal("mounts a disk"), sentence);
    }
}
