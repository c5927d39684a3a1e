//! The table that tells the kernel its CPUs and interrupt wiring, where there is no ACPI: Intel MultiProcessor
//! Specification 1.4, chapter 4.

use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::layout;

const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IOAPIC: u8 = 2;
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;

const ENABLED: u8 = 1;
const BOOT_CPU: u8 = 2;
/// An integrated APIC (its version register has 0x14 too).
const LAPIC_VERSION: u8 = 0x14;
const IOAPIC_VERSION: u8 = 0x11;
/// The one bus; the ISA bus makes interrupts edge-triggered and active high unless said otherwise.
const ISA_BUS: u8 = 0;
const VECTORED: u8 = 0;
const NMI: u8 = 1;
const EXTINT: u8 = 3;
/// "As the bus has it".
const CONFORMING: u16 = 0;
const ALL_LAPICS: u8 = 0xff;
const POINTER_BYTES: u8 = 16;

/// Writes the table for `cpus` virtual CPUs, whose APIC ids count from 0.
///
/// # Errors
/// When the memory does not reach that far.
pub fn write(memory: &GuestMemoryMmap, cpus: u8) -> Result<(), GuestMemoryError> {
    let start = layout::MP_TABLE_START;
    let table_start = start + u64::from(POINTER_BYTES);
    memory.write_slice(&pointer(table_start as u32), GuestAddress(start))?;
    memory.write_slice(&table(cpus), GuestAddress(table_start))
}

/// The floating pointer (section 4.1), by which the table is found.
fn pointer(table: u32) -> [u8; POINTER_BYTES as usize] {
    let mut bytes = [0; POINTER_BYTES as usize];
    bytes[..4].copy_from_slice(b"_MP_");
    bytes[4..8].copy_from_slice(&table.to_le_bytes());
    // Length in units of 16 bytes, and the version 1.4.
    bytes[8] = 1;
    bytes[9] = 4;
    bytes[10] = checksum(&bytes);
    bytes
}

/// The table with its header (section 4.2).
fn table(cpus: u8) -> Vec<u8> {
    let (entries, count) = entries(cpus);
    let mut bytes = Vec::with_capacity(44 + entries.len());
    bytes.extend(b"PCMP");
    bytes.extend(((44 + entries.len()) as u16).to_le_bytes());
    bytes.extend([4, 0]);
    bytes.extend(b"MOAT    ");
    bytes.extend(b"MICROVM     ");
    // No OEM table.
    bytes.extend([0; 6]);
    bytes.extend(count.to_le_bytes());
    bytes.extend(layout::LAPIC_START.to_le_bytes());
    // No extended table.
    bytes.extend([0; 4]);
    bytes.extend(entries);
    bytes[7] = checksum(&bytes);
    bytes
}

fn entries(cpus: u8) -> (Vec<u8>, u16) {
    let mut bytes = Vec::new();
    // The ids of APICs are one space: the IOAPIC has the first that no CPU has.
    let ioapic = cpus;
    for cpu in 0..cpus {
        let flags = ENABLED | if cpu == 0 { BOOT_CPU } else { 0 };
        bytes.extend([PROCESSOR, cpu, LAPIC_VERSION, flags]);
        // Signature and features, of which the kernel asks the CPU itself.
        bytes.extend([0; 16]);
    }
    bytes.extend([BUS, ISA_BUS]);
    bytes.extend(b"ISA   ");
    bytes.extend([IOAPIC, ioapic, IOAPIC_VERSION, ENABLED]);
    bytes.extend(layout::IOAPIC_START.to_le_bytes());
    let pins = layout::IOAPIC_PINS as u8;
    let wire = |kind, source, bus_irq: u8, destination, pin: u8| {
        let [low, high] = CONFORMING.to_le_bytes();
        [kind, source, low, high, ISA_BUS, bus_irq, destination, pin]
    };
    for pin in 0..pins {
        bytes.extend(wire(IO_INTERRUPT, VECTORED, pin, ioapic, pin));
    }
    bytes.extend(wire(LOCAL_INTERRUPT, EXTINT, 0, ALL_LAPICS, 0));
    bytes.extend(wire(LOCAL_INTERRUPT, NMI, 0, ALL_LAPICS, 1));
    (bytes, u16::from(cpus) + 2 + u16::from(pins) + 2)
}

/// The byte that makes the sum of all 0, with its own place still 0.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MAX_VCPUS;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    /// Reads a table as a kernel would: sizes by the kind of entry.
    fn kinds(table: &[u8]) -> [u16; 5] {
        assert_eq!(&table[..4], b"PCMP");
        assert_eq!(usize::from(u16::from_le_bytes([table[4], table[5]])), table.len());
        assert_eq!(sum(table), 0);
        let mut kinds = [0; 5];
        let mut at = 44;
        while at < table.len() {
            kinds[usize::from(table[at])] += 1;
            at += if table[at] == PROCESSOR { 20 } else { 8 };
        }
        assert_eq!(at, table.len());
        assert_eq!(kinds.iter().sum::<u16>(), u16::from_le_bytes([table[34], table[35]]));
        kinds
    }

    #[test]
    fn every_cpu_and_every_pin_is_there() {
        for cpus in [1, 2, MAX_VCPUS] {
            assert_eq!(kinds(&table(cpus)), [u16::from(cpus), 1, 1, 24, 2]);
        }
        assert_eq!(sum(&pointer(0xf_0010)), 0);
    }

    #[test]
    fn the_largest_fits_into_its_place() {
        assert!(table(MAX_VCPUS).len() + 16 <= layout::MP_TABLE_MAX);
        let memory = crate::memory::map(2 << 20).unwrap();
        write(&memory, MAX_VCPUS).unwrap();
        let mut magic = [0; 4];
        memory.read_slice(&mut magic, GuestAddress(layout::MP_TABLE_START)).unwrap();
        assert_eq!(&magic, b"_MP_");
    }
}
