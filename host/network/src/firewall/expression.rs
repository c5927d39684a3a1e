//! What a rule consists of: values are loaded into registers, compared or looked up, and followed by a verdict.

use super::super::netlink::Attributes;

/// NFTA_LIST_ELEM, the attribute of each member of a list.
pub const LIST_ELEMENT: u16 = 1;

/// A 32-bit register; longer values take several in a row.
#[derive(Debug, Clone, Copy)]
pub struct Register(u32);

impl Register {
    /// The register behind so many others.
    pub const fn at(number: u32) -> Self {
        // NFT_REG32_00
        Self(8 + number)
    }
}

/// The first register.
pub const FIRST: Register = Register::at(0);

/// What is known about a packet beside its content.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum Meta {
    /// The protocol of its frame.
    Protocol = 1,
    /// The name of the interface that it came in by.
    InputName = 6,
    /// The name of the interface that it goes out by.
    OutputName = 7,
    /// IPv4 or IPv6.
    Family = 15,
    /// The protocol over IP.
    Transport = 16,
}

/// Where a part of a packet is counted from.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum Base {
    /// The frame.
    Link = 0,
    /// The header of ARP, IPv4 or IPv6.
    Network = 1,
    /// The header of TCP, UDP or ICMP.
    Transport = 2,
}

/// Where a rule leads.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
enum Verdict {
    Drop = 0,
    Accept = 1,
    Goto = -4,
    Return = -5,
}

/// NFPROTO_IPV4.
pub const IPV4: u8 = 2;
/// NFPROTO_IPV6.
pub const IPV6: u8 = 10;

/// The bits of a connection's state: established or related.
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;

/// The bit of a connection's status: it is in the table.
const CONFIRMED: u32 = 1 << 3;

/// The bit of a connection's status: its destination is translated.
const TRANSLATED: u32 = 1 << 5;

/// A number that packets count towards. An expression goes on for the packets over it.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// As many connections at the same time.
    Flows(u32),
    /// As many packets in a second, after some at once.
    Rate {
        /// How many are added each second.
        per_second: u64,
        /// How many come at once.
        burst: u32,
    },
}

impl Bound {
    /// The expression: its name and its data.
    pub(super) fn put(self, to: &mut Attributes<'_>) {
        // NFT_CONNLIMIT_F_INV and NFT_LIMIT_F_INV
        const OVER: u32 = 1;
        match self {
            Self::Flows(count) => {
                to.text(1, "connlimit");
                to.nest(2, |a| {
                    a.number_be(1, count);
                    a.number_be(2, OVER);
                });
            }
            Self::Rate { per_second, burst } => {
                to.text(1, "limit");
                to.nest(2, |a| {
                    a.put(1, &per_second.to_be_bytes());
                    // The unit, in seconds.
                    a.put(2, &1_u64.to_be_bytes());
                    a.number_be(3, burst);
                    // NFT_LIMIT_PKTS
                    a.number_be(4, 0);
                    a.number_be(5, OVER);
                });
            }
        }
    }
}

/// What is looked up in the host's routes: the destination (NFTA_FIB_F_DADDR), at the input interface (NFTA_FIB_F_IIF).
const DESTINATION: u32 = 1 << 1;
const INPUT: u32 = 1 << 3;

/// The expressions of one rule, in order.
pub struct Expressions<'a, 'b>(&'a mut Attributes<'b>);

impl<'a, 'b> Expressions<'a, 'b> {
    pub(super) fn new(list: &'a mut Attributes<'b>) -> Self {
        Self(list)
    }

    fn add(&mut self, name: &str, data: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.0.nest(LIST_ELEMENT, |a| {
            a.text(1, name);
            a.nest(2, data);
        });
        self
    }

    /// Loads something about the packet.
    pub fn meta(&mut self, key: Meta, to: Register) -> &mut Self {
        self.add("meta", |a| {
            a.number_be(1, to.0);
            a.number_be(2, key as u32);
        })
    }

    /// Loads a part of the packet.
    pub fn payload(&mut self, base: Base, offset: u32, length: u32, to: Register) -> &mut Self {
        self.add("payload", |a| {
            a.number_be(1, to.0);
            a.number_be(2, base as u32);
            a.number_be(3, offset);
            a.number_be(4, length);
        })
    }

    /// Loads whether an IPv6 packet has this extension header.
    pub fn has_header(&mut self, header: u8, to: Register) -> &mut Self {
        const PRESENT: u32 = 1;
        self.add("exthdr", |a| {
            a.number_be(1, to.0);
            a.put(2, &[header]);
            a.number_be(3, 0);
            a.number_be(4, 1);
            a.number_be(5, PRESENT);
        })
    }

    /// Loads a part of an IPv6 packet's extension header.
    pub fn header(&mut self, header: u8, offset: u32, length: u32, to: Register) -> &mut Self {
        self.add("exthdr", |a| {
            a.number_be(1, to.0);
            a.put(2, &[header]);
            a.number_be(3, offset);
            a.number_be(4, length);
        })
    }

    /// Goes on if a register holds `value`.
    pub fn equal(&mut self, register: Register, value: &[u8]) -> &mut Self {
        self.compare(0, register, value)
    }

    /// Goes on if a register does not hold `value`.
    pub fn unequal(&mut self, register: Register, value: &[u8]) -> &mut Self {
        self.compare(1, register, value)
    }

    fn compare(&mut self, operator: u32, register: Register, value: &[u8]) -> &mut Self {
        self.add("cmp", |a| {
            a.number_be(1, register.0);
            a.number_be(2, operator);
            a.nest(3, |data| data.put(1, value));
        })
    }

    /// Keeps those bits of a register that `mask` has.
    pub fn mask(&mut self, register: Register, mask: &[u8]) -> &mut Self {
        let zero = vec![0; mask.len()];
        self.add("bitwise", |a| {
            a.number_be(1, register.0);
            a.number_be(2, register.0);
            a.number_be(3, u32::try_from(mask.len()).unwrap_or(0));
            a.nest(4, |data| data.put(1, mask));
            a.nest(5, |data| data.put(1, &zero));
        })
    }

    /// Goes on if the registers from `register` on are in a set.
    pub fn in_set(&mut self, set: &str, register: Register) -> &mut Self {
        self.add("lookup", |a| {
            a.text(1, set);
            a.number_be(2, register.0);
        })
    }

    /// Goes on if the registers from `register` on are not in a set.
    pub fn not_in_set(&mut self, set: &str, register: Register) -> &mut Self {
        self.add("lookup", |a| {
            a.text(1, set);
            a.number_be(2, register.0);
            a.number_be(5, 1);
        })
    }

    /// Goes on if the registers from `register` on are in a map, with its value in them.
    pub fn mapped(&mut self, map: &str, register: Register) -> &mut Self {
        self.add("lookup", |a| {
            a.text(1, map);
            a.number_be(2, register.0);
            a.number_be(3, register.0);
        })
    }

    /// Goes on for packets of connections that are known, or belong to one.
    pub fn established(&mut self) -> &mut Self {
        self.connection(0, ESTABLISHED_OR_RELATED).unequal(FIRST, &[0; 4])
    }

    /// Goes on for the first packet of a connection, which is not in the table yet.
    pub fn unconfirmed(&mut self) -> &mut Self {
        self.connection(2, CONFIRMED).equal(FIRST, &[0; 4])
    }

    /// Goes on for packets of connections whose destination is translated.
    pub fn translated(&mut self) -> &mut Self {
        self.connection(2, TRANSLATED).unequal(FIRST, &[0; 4])
    }

    /// Loads these bits of what is known about a connection.
    fn connection(&mut self, key: u32, bits: u32) -> &mut Self {
        self.add("ct", |a| {
            a.number_be(1, FIRST.0);
            a.number_be(2, key);
        });
        self.mask(FIRST, &bits.to_ne_bytes())
    }

    /// Goes on for packets to an address of this host.
    pub fn for_this_host(&mut self) -> &mut Self {
        self.local(DESTINATION)
    }

    /// Goes on for packets to an address of the interface that they came in by.
    pub fn for_the_way_in(&mut self) -> &mut Self {
        self.local(DESTINATION | INPUT)
    }

    fn local(&mut self, flags: u32) -> &mut Self {
        const ADDRESS_TYPE: u32 = 3;
        const LOCAL: u32 = 2;
        self.add("fib", |a| {
            a.number_be(1, FIRST.0);
            a.number_be(2, ADDRESS_TYPE);
            a.number_be(3, flags);
        });
        self.equal(FIRST, &LOCAL.to_ne_bytes())
    }

    /// Goes on for packets of IPv4 or IPv6.
    pub fn family(&mut self, family: u8) -> &mut Self {
        self.meta(Meta::Family, FIRST).equal(FIRST, &[family])
    }

    /// Translates the destination to the address and the port in the registers.
    pub fn translate_to(&mut self, family: u8, address: Register, port: Register) {
        self.add("nat", |a| {
            a.number_be(1, 1);
            a.number_be(2, family.into());
            a.number_be(3, address.0);
            a.number_be(5, port.0);
        });
    }

    /// Has the packet leave with the host's address.
    pub fn masquerade(&mut self) {
        self.add("masq", |_| {});
    }

    /// Drops the packet for good.
    pub fn drop(&mut self) {
        self.verdict(Verdict::Drop, None);
    }

    /// Lets the packet pass this table.
    pub fn accept(&mut self) {
        self.verdict(Verdict::Accept, None);
    }

    /// Leaves the chain.
    pub fn leave(&mut self) {
        self.verdict(Verdict::Return, None);
    }

    /// Goes on in another chain and does not come back.
    pub fn go_to(&mut self, chain: &str) {
        self.verdict(Verdict::Goto, Some(chain));
    }

    fn verdict(&mut self, verdict: Verdict, chain: Option<&str>) {
        self.add("immediate", |a| {
            // NFT_REG_VERDICT
            a.number_be(1, 0);
            a.nest(2, |data| {
                data.nest(2, |inner| {
                    inner.put(1, &(verdict as i32).to_be_bytes());
                    if let Some(chain) = chain {
                        inner.text(2, chain);
                    }
                });
            });
        });
    }
}
