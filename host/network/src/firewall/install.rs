//! The rules get into the kernel, over what is there: nothing, half of them, or another version's.

use std::io;

use super::encode::{self, Batch, Family};
use super::ruleset::{self, Rules};
use super::{Element, Firewall, TABLE, add};

/// How often it is tried while another program does the same.
const ATTEMPTS: usize = 5;

impl Firewall {
    /// Installs the rules with these elements, in one transaction: at no moment is there a host without rules. Elements
    /// of containers that are not told of here stay.
    pub(super) fn install(&self, rules: &Rules, elements: &[Element]) -> io::Result<()> {
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            let mut batch = Batch::new();
            self.remove_unknown(&mut batch)?;
            rules.install(&mut batch);
            rules.require(&mut batch);
            add(&mut batch, elements);
            result = self.commit(batch);
            match result.as_ref().map_err(io::Error::raw_os_error) {
                // Another program has just removed what was to be removed.
                Err(Some(libc::ENOENT)) => {}
                // A chain or a set of this name is something else.
                Err(Some(libc::EEXIST | libc::EINVAL | libc::EBUSY)) => return self.rebuild(rules, elements),
                _ => return result,
            }
        }
        result
    }

    /// Installs the rules in new tables.
    fn rebuild(&self, rules: &Rules, elements: &[Element]) -> io::Result<()> {
        let mut batch = Batch::new();
        for family in [Family::Bridge, Family::Inet] {
            batch.remove_table(family, TABLE);
        }
        rules.install(&mut batch);
        rules.require(&mut batch);
        add(&mut batch, elements);
        self.commit(batch)
    }

    /// Removes what another version has and this one has not, the set that names that version among it.
    fn remove_unknown(&self, batch: &mut Batch) -> io::Result<()> {
        let (chains, sets) = (self.0.dump(&encode::chains())?, self.0.dump(&encode::sets())?);
        for family in [Family::Bridge, Family::Inet] {
            let unknown = |answers: &[_]| -> Vec<String> {
                let names = answers.iter().filter_map(|answer| encode::name_in(family, TABLE, answer));
                names.filter(|name| !ruleset::is_known(family, name)).collect()
            };
            let (chains, sets) = (unknown(&chains), unknown(&sets));
            if !chains.is_empty() || !sets.is_empty() {
                batch.flush(family, TABLE);
            }
            chains.iter().for_each(|name| batch.remove_chain(family, TABLE, name));
            sets.iter().for_each(|name| batch.remove_set(family, TABLE, name));
        }
        Ok(())
    }
}
