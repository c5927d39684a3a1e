//! The parts of a VM that KVM provides: the VM itself with its interrupt controllers, and its virtual CPUs.

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQCHIP_IOAPIC, KVM_MAX_CPUID_ENTRIES, KvmIrqRouting, kvm_irq_routing_entry,
    kvm_irq_routing_irqchip,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, NoDatamatch, VcpuFd, VmFd};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use crate::boot::cpuid;
use crate::boot::registers::{self, SetupError};
use crate::layout;
use crate::memory::{self, MemoryError};
use crate::virtio::interrupt::USED_RING;
use crate::virtio::registers::{DEFERRABLE, INTERRUPT_ACK, QUEUE_NOTIFY, RegisterFile};

/// What this VMM needs of KVM. All of it is in Linux 5.0 and later.
const NEEDED: [(Cap, &str); 10] = [
    (Cap::UserMemory, "guest memory"),
    (Cap::ReadonlyMem, "read-only guest memory"),
    (Cap::Irqchip, "interrupt controllers"),
    (Cap::IrqRouting, "interrupt routing"),
    (Cap::Irqfd, "interrupts by event descriptor"),
    (Cap::Ioeventfd, "notifications by event descriptor"),
    (Cap::SetTssAddr, "the TSS address"),
    (Cap::ExtCpuid, "CPUID by table"),
    (Cap::TscDeadlineTimer, "the TSC deadline timer"),
    (Cap::CoalescedPio, "collected port writes"),
];

/// The only version of the interface since 2007.
const API_VERSION: i32 = 12;

/// Ports that a PC's kernel writes during boot and whose chips are not here. KVM collects these writes, and the VMM does not
/// look at them: each would be an exit for nothing.
const IGNORED_PORTS: [(u16, u32); 3] = [
    // The interval timer, which the kernel stops to be sure.
    (0x40, 4),
    // CMOS: "restart here" before and after a CPU is started.
    (0x70, 2),
    // The pause of old ISA drivers.
    (0x80, 1),
];

/// The mask register of the 8259, the interrupt controller that PCs had before the IOAPIC. KVM makes both or neither. A
/// kernel that finds one sets it up, and believes that a BIOS has used the IOAPIC and reads and clears each of its pins:
/// 420 exits, a fifth of a boot's. It looks by writing a mask and reading it back.
const PIC_MASK_PORT: u64 = 0x21;

/// Why KVM cannot give the VM what it needs.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// There is no usable device.
    #[error("cannot open /dev/kvm: {0}")]
    Open(kvm_ioctls::Error),
    /// The interface has another version than this VMM knows.
    #[error("/dev/kvm has interface version {0}, not {API_VERSION}")]
    Version(i32),
    /// Something is missing.
    #[error("this host's KVM lacks {0}")]
    Missing(&'static str),
    /// More virtual CPUs than there can be.
    #[error("{asked} virtual CPUs were asked for; this host's KVM allows {allowed}")]
    Cpus {
        /// How many were asked for.
        asked: u8,
        /// How many there can be.
        allowed: usize,
    },
    /// A call failed.
    #[error("KVM: {what}: {source}")]
    Call {
        /// What it was to do.
        what: &'static str,
        /// KVM's answer.
        source: kvm_ioctls::Error,
    },
    /// The CPUID table of this host is longer than KVM's interface takes.
    #[error("this host's CPUID has too many entries")]
    Cpuid,
    /// There is no memory for a table of a few lines.
    #[error("the interrupts' routes take too much memory")]
    Routes,
    /// The guest's memory cannot be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A virtual CPU cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

fn call(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> MachineError {
    move |source| MachineError::Call { what, source }
}

/// Opens KVM and checks that it has all that is needed for `cpus` virtual CPUs.
///
/// # Errors
/// What is missing.
pub fn open(cpus: u8) -> Result<Kvm, MachineError> {
    let kvm = Kvm::new().map_err(MachineError::Open)?;
    match kvm.get_api_version() {
        API_VERSION => {}
        other => return Err(MachineError::Version(other)),
    }
    for (cap, what) in NEEDED {
        if !kvm.check_extension(cap) {
            return Err(MachineError::Missing(what));
        }
    }
    let allowed = kvm.get_max_vcpus();
    if usize::from(cpus) > allowed {
        return Err(MachineError::Cpus { asked: cpus, allowed });
    }
    Ok(kvm)
}

/// The VM. The descriptor is declared before what it maps, so that it is closed first.
pub struct Machine {
    vm: VmFd,
    registers: RegisterFile,
    memory: GuestMemoryMmap,
}

impl Machine {
    /// A VM with `memory`, interrupt controllers, and registers for `devices` virtio devices.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn new(kvm: &Kvm, memory: GuestMemoryMmap, devices: usize) -> Result<Self, MachineError> {
        let vm = kvm.create_vm().map_err(call("create the VM"))?;
        let slot = memory::attach(&vm, &memory)?;
        let registers = RegisterFile::new(devices)
            .map_err(|source| MemoryError::Map { bytes: devices as u64 * layout::VIRTIO_SIZE, source })?;
        memory::attach_read_only(&vm, slot, layout::VIRTIO_START, registers.region())?;
        // KVM wants both before the first virtual CPU.
        vm.set_identity_map_address(layout::KVM_IDENTITY_MAP).map_err(call("place the identity map"))?;
        vm.set_tss_address(layout::KVM_TSS as usize).map_err(call("place the TSS"))?;
        create_interrupt_controllers(&vm)?;
        // No PIT: the kernel's time comes from kvm-clock and the LAPIC's deadline timer, and each PIT is a kernel
        // thread on the host.
        for (port, count) in IGNORED_PORTS {
            vm.register_coalesced_mmio(IoEventAddress::Pio(port.into()), count)
                .map_err(call("collect port writes"))?;
        }
        Ok(Self { vm, registers, memory })
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// The registers that the guest reads.
    pub fn registers(&self) -> &RegisterFile {
        &self.registers
    }

    /// An event that raises an edge on the interrupt `irq`.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn interrupt(&self, irq: u32) -> Result<EventFd, MachineError> {
        let event = new_event()?;
        self.vm.register_irqfd(&event, irq).map_err(call("wire an interrupt"))?;
        Ok(event)
    }

    /// Wires the registers of the virtio device `index` that need no exit. Returns an event for each of its `queues`, of
    /// which KVM signals all but the last `immediate`.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn wire_virtio(
        &self,
        index: usize,
        queues: usize,
        immediate: usize,
    ) -> Result<Vec<EventFd>, MachineError> {
        let base = layout::virtio_address(index);
        let at = |register: u32| IoEventAddress::Mmio(base + u64::from(register));
        for (register, length) in DEFERRABLE {
            self.vm.register_coalesced_mmio(at(register), length).map_err(call("collect register writes"))?;
        }
        // The VMM does not wait for this event: see `virtio::interrupt` for why the acknowledgement has no effect. KVM keeps its
        // own reference.
        self.vm
            .register_ioevent(&new_event()?, &at(INTERRUPT_ACK), USED_RING)
            .map_err(call("wire an acknowledgement"))?;
        let events = (0..queues).map(|_| new_event()).collect::<Result<Vec<_>, _>>()?;
        for (queue, event) in (0_u32..).zip(&events).take(queues.saturating_sub(immediate)) {
            self.vm.register_ioevent(event, &at(QUEUE_NOTIFY), queue).map_err(call("wire a notification"))?;
        }
        Ok(events)
    }

    /// The virtual CPUs; the first starts at `entry`.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn create_vcpus(&self, kvm: &Kvm, cpus: u8, entry: u64) -> Result<Vec<VcpuFd>, MachineError> {
        let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(call("read CPUID"))?;
        (0..cpus)
            .map(|index| {
                let vcpu = self.vm.create_vcpu(index.into()).map_err(call("create a virtual CPU"))?;
                let table = cpuid::table(supported.as_slice(), index, cpus).ok_or(MachineError::Cpuid)?;
                vcpu.set_cpuid2(&table).map_err(call("set CPUID"))?;
                registers::set_common(&vcpu)?;
                if index == 0 {
                    registers::set_entry(&vcpu, entry)?;
                }
                Ok(vcpu)
            })
            .collect()
    }
}

/// LAPICs and an IOAPIC. The 8259 that comes with them gets no interrupts, and is made to look absent.
fn create_interrupt_controllers(vm: &VmFd) -> Result<(), MachineError> {
    // Masks written there end in an event that the VMM does not wait for: of two devices at a port KVM asks the older first.
    // If that ever changed, the kernel would find the 8259 and start more slowly.
    vm.register_ioevent(&new_event()?, &IoEventAddress::Pio(PIC_MASK_PORT), NoDatamatch)
        .map_err(call("hide the 8259"))?;
    vm.create_irq_chip().map_err(call("create the interrupt controllers"))?;
    let routes: Vec<_> = (0..layout::IOAPIC_PINS).map(route).collect();
    let routes = KvmIrqRouting::from_entries(&routes).map_err(|_| MachineError::Routes)?;
    vm.set_gsi_routing(&routes).map_err(call("route interrupts"))
}

/// The route of an interrupt to the IOAPIC alone. KVM's own routes send the first sixteen interrupts to the 8259, too.
fn route(pin: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi: pin, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
    entry.u.irqchip = kvm_irq_routing_irqchip { irqchip: KVM_IRQCHIP_IOAPIC, pin };
    entry
}

fn new_event() -> Result<EventFd, MachineError> {
    EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)
        .map_err(|error| call("make an event descriptor")(error.into()))
}
