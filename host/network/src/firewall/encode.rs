//! nf_tables over netlink (linux/netfilter/nf_tables.h): a transaction of tables, chains, rules, sets and elements.
//! Numbers are in the network's byte order, except where packets' registers have the host's.

use super::super::netlink::{Answer, Attributes, CREATE, DUMP, Messages, attributes};
use super::expression::{Bound, Expressions, LIST_ELEMENT};

/// The families of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// Frames that pass a bridge.
    Bridge = 7,
}

/// Where a chain is called from, and when.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// The place in the packet's way.
    pub number: u32,
    /// The order among the chains of one place.
    pub priority: i32,
}

/// What a set holds.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// The types of the key's parts.
    pub key: &'static [Type],
    /// The types of the value's parts; none for a set that is no map.
    pub value: &'static [Type],
    /// What each element counts, and beyond which number it is found.
    pub bound: Option<Bound>,
}

impl<'a> Set<'a> {
    /// A set of this name, for keys of these types.
    pub const fn new(name: &'a str, key: &'static [Type]) -> Self {
        Self { name, key, value: &[], bound: None }
    }

    /// A map, with values of these types.
    pub const fn with_value(self, value: &'static [Type]) -> Self {
        Self { value, ..self }
    }

    /// A set whose elements are found once they are over this bound.
    pub const fn bounded(self, bound: Bound) -> Self {
        Self { bound: Some(bound), ..self }
    }
}

/// The types of values, with the numbers by which `nft` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Type {
    /// IPv4 or IPv6.
    Family = 2,
    /// An IPv4 address.
    Ipv4 = 7,
    /// An IPv6 address.
    Ipv6 = 8,
    /// A hardware address.
    Ether = 9,
    /// A protocol over IP.
    Protocol = 12,
    /// A port.
    Port = 13,
    /// An interface's name.
    Interface = 41,
}

impl Type {
    /// How many bytes a register needs for it.
    const fn length(self) -> u32 {
        match self {
            Self::Family | Self::Ipv4 | Self::Protocol | Self::Port => 4,
            Self::Ether => 8,
            Self::Ipv6 | Self::Interface => 16,
        }
    }

    /// How many bytes the value itself has.
    const fn own_length(self) -> u32 {
        match self {
            Self::Family | Self::Protocol => 1,
            Self::Port => 2,
            Self::Ipv4 => 4,
            Self::Ether => 6,
            Self::Ipv6 | Self::Interface => 16,
        }
    }

    /// The length of several in a row. Only within a row are values padded.
    fn row(types: &[Self]) -> u32 {
        match types {
            [one] => one.own_length(),
            many => many.iter().map(|one| one.length()).sum(),
        }
    }

    /// The number of several in a row.
    fn number(types: &[Self]) -> u32 {
        types.iter().fold(0, |number, &one| number << 6 | one as u32)
    }
}

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = NFNL_SUBSYS_NFTABLES << 8;
const DELETE_TABLE: u16 = NEW_TABLE | 2;
const NEW_CHAIN: u16 = NEW_TABLE | 3;
const GET_CHAIN: u16 = NEW_TABLE | 4;
const DELETE_CHAIN: u16 = NEW_TABLE | 5;
const NEW_RULE: u16 = NEW_TABLE | 6;
const DELETE_RULE: u16 = NEW_TABLE | 8;
const NEW_SET: u16 = NEW_TABLE | 9;
const GET_SET: u16 = NEW_TABLE | 10;
const DELETE_SET: u16 = NEW_TABLE | 11;
const NEW_ELEMENT: u16 = NEW_TABLE | 12;
const DELETE_ELEMENT: u16 = NEW_TABLE | 14;

/// NLM_F_APPEND: rules go behind those that are there.
const APPEND: u16 = libc::NLM_F_APPEND as u16;

const SET_MAP: u32 = 8;

/// A transaction: all of it happens or nothing.
pub struct Batch {
    messages: Messages,
    sets: u32,
}

impl Batch {
    /// An empty transaction.
    pub fn new() -> Self {
        let mut messages = Messages::default();
        messages.add(BATCH_BEGIN, 0, &header(0, NFNL_SUBSYS_NFTABLES), |_| {});
        Self { messages, sets: 0 }
    }

    /// The messages, with the end. The kernel answers the last one, and complains about any.
    pub fn finish(mut self) -> Messages {
        self.messages.ask_for_answer();
        self.messages.add(BATCH_END, 0, &header(0, NFNL_SUBSYS_NFTABLES), |_| {});
        self.messages
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.messages.count() == 1
    }

    /// What tells this transaction from others.
    pub fn bytes(&self) -> &[u8] {
        self.messages.bytes()
    }

    /// Makes a table if it is not there.
    pub fn table(&mut self, family: Family, name: &str) {
        self.add(NEW_TABLE, CREATE, family, |a| a.text(1, name));
    }

    /// Removes a table and all in it, if it is there.
    pub fn remove_table(&mut self, family: Family, name: &str) {
        self.table(family, name);
        self.add(DELETE_TABLE, 0, family, |a| a.text(1, name));
    }

    /// Removes all rules of a table.
    pub fn flush(&mut self, family: Family, table: &str) {
        self.add(DELETE_RULE, 0, family, |a| a.text(1, table));
    }

    /// Removes a chain, which must be there and have no rules.
    pub fn remove_chain(&mut self, family: Family, table: &str, name: &str) {
        self.add(DELETE_CHAIN, 0, family, |a| {
            a.text(1, table);
            a.text(3, name);
        });
    }

    /// Removes a set, which must be there and be used by no rule.
    pub fn remove_set(&mut self, family: Family, table: &str, name: &str) {
        self.add(DELETE_SET, 0, family, |a| {
            a.text(1, table);
            a.text(2, name);
        });
    }

    /// Makes a chain; without a hook others must jump to it.
    pub fn chain(&mut self, family: Family, table: &str, name: &str, hook: Option<Hook>) {
        self.add(NEW_CHAIN, CREATE, family, |a| {
            a.text(1, table);
            a.text(3, name);
            if let Some(hook) = hook {
                a.nest(4, |inner| {
                    inner.number_be(1, hook.number);
                    inner.put(2, &hook.priority.to_be_bytes());
                });
                a.text(7, hook.kind);
            }
        });
    }

    /// Adds a rule at the end of a chain.
    pub fn rule(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        content: impl FnOnce(&mut Expressions<'_, '_>),
    ) {
        self.add(NEW_RULE, CREATE | APPEND, family, |a| {
            a.text(1, table);
            a.text(2, chain);
            a.nest(4, |list| content(&mut Expressions::new(list)));
        });
    }

    /// Makes a set if it is not there.
    pub fn set(&mut self, family: Family, table: &str, set: &Set<'_>) {
        self.sets += 1;
        let id = self.sets;
        let flags = if set.value.is_empty() { 0 } else { SET_MAP };
        self.add(NEW_SET, CREATE, family, |a| {
            a.text(1, table);
            a.text(2, set.name);
            a.number_be(3, flags);
            a.number_be(4, Type::number(set.key));
            a.number_be(5, Type::row(set.key));
            if !set.value.is_empty() {
                a.number_be(6, Type::number(set.value));
                a.number_be(7, Type::row(set.value));
            }
            a.number_be(10, id);
            if let Some(bound) = set.bound {
                // NFTA_SET_EXPR
                a.nest(17, |expression| bound.put(expression));
            }
        });
    }

    /// Adds an element to a set; one that is there already may be.
    pub fn add_element(&mut self, family: Family, table: &str, set: &str, key: &[u8], value: &[u8]) {
        self.element(NEW_ELEMENT, CREATE, family, [table, set], key, value);
    }

    /// Removes an element, which must be there.
    pub fn remove_element(&mut self, family: Family, table: &str, set: &str, key: &[u8]) {
        self.element(DELETE_ELEMENT, 0, family, [table, set], key, &[]);
    }

    fn element(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        [table, set]: [&str; 2],
        key: &[u8],
        value: &[u8],
    ) {
        self.add(kind, flags, family, |a| {
            a.text(1, table);
            a.text(2, set);
            a.nest(3, |list| {
                list.nest(LIST_ELEMENT, |element| {
                    element.nest(1, |data| data.put(1, key));
                    if !value.is_empty() {
                        element.nest(2, |data| data.put(1, value));
                    }
                });
            });
        });
    }

    fn add(&mut self, kind: u16, flags: u16, family: Family, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.messages.add(kind, flags, &header(family as u8, 0), attributes);
    }
}

/// A question for all sets.
pub fn sets() -> Messages {
    let mut messages = Messages::default();
    messages.add(GET_SET, DUMP, &header(0, 0), |_| {});
    messages
}

/// The name of the chain or set that an answer is about, if it is in this table.
pub fn name_in(family: Family, table: &str, answer: &Answer) -> Option<String> {
    // NFTA_CHAIN_NAME or NFTA_SET_NAME.
    let name = if answer.kind == NEW_CHAIN { 3 } else { 2 };
    let text = |kind: u16| text(&answer.content, kind);
    let here = answer.content.first() == Some(&(family as u8)) && text(1).as_deref() == Some(table);
    text(name).filter(|_| here)
}

fn text(content: &[u8], kind: u16) -> Option<String> {
    let value = attributes(content.get(4..)?).find(|(found, _)| *found == kind)?.1;
    Some(String::from_utf8_lossy(value.strip_suffix(&[0])?).into_owned())
}

/// A question for all chains.
pub fn chains() -> Messages {
    let mut messages = Messages::default();
    messages.add(GET_CHAIN, DUMP, &header(0, 0), |_| {});
    messages
}

/// The name of the table of a chain that drops forwarded packets of IPv4 unless a rule of it says otherwise.
pub fn dropper(chain: &[u8]) -> Option<String> {
    const IPV4: u8 = 2;
    const FORWARD: u32 = 2;
    const DROP: u32 = 0;
    let find =
        |kind: u16| attributes(chain.get(4..)?).find(|(found, _)| *found == kind).map(|(_, value)| value);
    let number = |value: &[u8]| Some(u32::from_be_bytes(value.try_into().ok()?));
    let family = *chain.first()?;
    let hook = attributes(find(4)?).find(|(kind, _)| *kind == 1)?.1;
    let drops = (family == IPV4 || family == Family::Inet as u8)
        && number(hook)? == FORWARD
        && number(find(5)?)? == DROP;
    text(chain, 1).filter(|_| drops)
}

/// struct nfgenmsg.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
