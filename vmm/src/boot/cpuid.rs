//! What CPUID tells the guest: what KVM supports on this host, with the host's topology replaced by the guest's, which
//! is one socket of single-threaded cores that share the last-level cache (Intel SDM volume 2, CPUID; AMD APM volume 3,
//! appendix E).

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

const FEATURES: u32 = 0x1;
const INTEL_CACHES: u32 = 0x4;
const POWER: u32 = 0x6;
const PERFORMANCE: u32 = 0xa;
const TOPOLOGY: u32 = 0xb;
const TOPOLOGY_V2: u32 = 0x1f;
const AMD_SIZES: u32 = 0x8000_0008;
const AMD_CACHES: u32 = 0x8000_001d;
const AMD_TOPOLOGY: u32 = 0x8000_001e;

const ECX_X2APIC: u32 = 1 << 21;
const ECX_TSC_DEADLINE: u32 = 1 << 24;
const ECX_HYPERVISOR: u32 = 1 << 31;
const EDX_HTT: u32 = 1 << 28;
/// The APIC timer runs in every power state.
const EAX_ARAT: u32 = 1 << 2;

const LEVEL_THREAD: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// The CPUID of virtual CPU `cpu` of `cpus`, from what KVM supports. Replaces entries in place.
pub fn for_cpu(supported: &[kvm_cpuid_entry2], cpu: u8, cpus: u8) -> Vec<kvm_cpuid_entry2> {
    let last_leaf = supported.iter().find(|entry| entry.function == 0).map_or(0, |entry| entry.eax);
    let mut entries: Vec<_> = supported
        .iter()
        .filter(|entry| !matches!(entry.function, TOPOLOGY | TOPOLOGY_V2))
        .map(|entry| {
            let mut entry = *entry;
            adapt(&mut entry, cpu, cpus);
            entry
        })
        .collect();
    if last_leaf >= TOPOLOGY {
        entries.extend(topology(TOPOLOGY, cpu, cpus));
    }
    if last_leaf >= TOPOLOGY_V2 {
        entries.extend(topology(TOPOLOGY_V2, cpu, cpus));
    }
    entries
}

/// [`for_cpu`] as KVM takes it; nothing if there are more entries than it can take.
pub fn table(supported: &[kvm_cpuid_entry2], cpu: u8, cpus: u8) -> Option<CpuId> {
    CpuId::from_entries(&for_cpu(supported, cpu, cpus)).ok()
}

fn adapt(entry: &mut kvm_cpuid_entry2, cpu: u8, cpus: u8) {
    let shared = u32::from(cpus) - 1;
    match entry.function {
        FEATURES => {
            let ids = u32::from(cpus).next_power_of_two();
            entry.ebx = entry.ebx & 0xffff | ids << 16 | u32::from(cpu) << 24;
            // KVM's own LAPIC has both, on any host; with the deadline timer nothing has to be calibrated.
            entry.ecx |= ECX_HYPERVISOR | ECX_TSC_DEADLINE | ECX_X2APIC;
            entry.edx = if cpus > 1 { entry.edx | EDX_HTT } else { entry.edx & !EDX_HTT };
        }
        INTEL_CACHES if entry.eax & 0x1f != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level >= 3 { shared } else { 0 };
            entry.eax = entry.eax & 0x3fff | sharing << 14 | shared << 26;
        }
        // The guest sees neither temperature nor frequency of the host.
        POWER => {
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (EAX_ARAT, 0, 0, 0);
        }
        // No performance counters: they would show the host's, and their probing costs exits.
        PERFORMANCE => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        AMD_SIZES => {
            let id_bits = u32::from(cpus).next_power_of_two().trailing_zeros();
            entry.ecx = entry.ecx & !0xf0ff | shared | id_bits << 12;
        }
        AMD_CACHES if entry.eax & 0x1f != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level >= 3 { shared } else { 0 };
            entry.eax = entry.eax & 0x3fff | sharing << 14;
        }
        AMD_TOPOLOGY => {
            // One thread per core, one node.
            (entry.eax, entry.ebx, entry.ecx) = (cpu.into(), cpu.into(), 0);
        }
        _ => {}
    }
}

/// The levels of leaf 0xb or 0x1f; the third says that there are no more.
fn topology(function: u32, cpu: u8, cpus: u8) -> [kvm_cpuid_entry2; 3] {
    let core_bits = u32::from(cpus).next_power_of_two().trailing_zeros();
    [(0, 1, LEVEL_THREAD), (core_bits, u32::from(cpus), LEVEL_CORE), (0, 0, 0)].map({
        let mut index = 0;
        move |(shift, count, level)| {
            let entry = kvm_cpuid_entry2 {
                function,
                index,
                flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                eax: shift,
                ebx: count,
                ecx: index | level << 8,
                edx: cpu.into(),
                ..Default::default()
            };
            index += 1;
            entry
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, index: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = registers;
        kvm_cpuid_entry2 { function, index, eax, ebx, ecx, edx, ..Default::default() }
    }

    fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
        *entries.iter().find(|entry| (entry.function, entry.index) == (function, index)).unwrap()
    }

    /// A host with 64 threads.
    fn host() -> Vec<kvm_cpuid_entry2> {
        vec![
            entry(0, 0, [0x1f, 0, 0, 0]),
            entry(FEATURES, 0, [0x800f12, 0x2a40_0800, 0x7eda_3203, 0x178b_fbff | EDX_HTT]),
            entry(INTEL_CACHES, 0, [0xfc00_4121, 1, 2, 3]),
            entry(INTEL_CACHES, 3, [0xfc1f_c163, 1, 2, 3]),
            entry(INTEL_CACHES, 4, [0, 0, 0, 0]),
            entry(POWER, 0, [0xff, 1, 2, 3]),
            entry(PERFORMANCE, 0, [0x0830_0805, 0, 0, 0x8604]),
            entry(TOPOLOGY, 0, [1, 2, 0x100, 42]),
            entry(TOPOLOGY, 1, [6, 64, 0x201, 42]),
            entry(TOPOLOGY_V2, 0, [1, 2, 0x100, 42]),
            entry(0x4000_0000, 0, [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d]),
            entry(AMD_SIZES, 0, [0x3030, 0x1000, 0x703f, 0]),
            entry(AMD_TOPOLOGY, 0, [42, 0x115, 0x301, 0]),
        ]
    }

    #[test]
    fn each_cpu_has_its_own_id_everywhere() {
        for cpu in 0..3 {
            let entries = for_cpu(&host(), cpu, 3);
            assert_eq!(find(&entries, FEATURES, 0).ebx >> 24, u32::from(cpu));
            for level in 0..3 {
                assert_eq!(find(&entries, TOPOLOGY, level).edx, u32::from(cpu));
                assert_eq!(find(&entries, TOPOLOGY_V2, level).edx, u32::from(cpu));
            }
            assert_eq!(find(&entries, AMD_TOPOLOGY, 0).eax, u32::from(cpu));
        }
    }

    #[test]
    fn the_topology_is_the_guests() {
        let entries = for_cpu(&host(), 0, 3);
        assert_eq!(find(&entries, FEATURES, 0).ebx >> 16 & 0xff, 4);
        assert_eq!((find(&entries, TOPOLOGY, 0).eax, find(&entries, TOPOLOGY, 0).ebx), (0, 1));
        assert_eq!((find(&entries, TOPOLOGY, 1).eax, find(&entries, TOPOLOGY, 1).ebx), (2, 3));
        assert_eq!(find(&entries, TOPOLOGY, 2).ecx, 2);
        assert_eq!(entries.iter().filter(|entry| entry.function == TOPOLOGY).count(), 3);
        assert_eq!(find(&entries, AMD_SIZES, 0).ecx, 2 << 12 | 2);
        // Private first-level cache, shared last-level cache, three cores.
        assert_eq!(find(&entries, INTEL_CACHES, 0).eax, 0x121 | 2 << 26);
        assert_eq!(find(&entries, INTEL_CACHES, 3).eax, 0x163 | 2 << 14 | 2 << 26);
        assert_eq!(find(&entries, INTEL_CACHES, 4).eax, 0);
        assert_eq!(find(&for_cpu(&host(), 0, 1), FEATURES, 0).edx & EDX_HTT, 0);
    }

    #[test]
    fn it_is_a_virtual_machine_without_the_hosts_counters() {
        let entries = for_cpu(&host(), 0, 1);
        assert_ne!(find(&entries, FEATURES, 0).ecx & ECX_HYPERVISOR, 0);
        assert_eq!(find(&entries, PERFORMANCE, 0).eax, 0);
        assert_eq!(find(&entries, POWER, 0).eax, EAX_ARAT);
        assert_eq!(find(&entries, 0x4000_0000, 0).ebx, 0x4b4d_564b);
    }

    #[test]
    fn a_host_without_the_topology_leaf_does_not_get_one() {
        let entries = for_cpu(&[entry(0, 0, [0x7, 0, 0, 0]), entry(TOPOLOGY, 0, [0; 4])], 0, 2);
        assert!(entries.iter().all(|entry| entry.function != TOPOLOGY));
    }
}
