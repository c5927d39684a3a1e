# shellcheck shell=bash
# shellcheck disable=SC2034  # KVM_REASON is for the scripts that source this
# Where do microVMs run: on this machine's KVM, or on the testbed's?

# A hint, cheap enough for every call: /dev/kvm opens, and the CPU shows the extension that makes KVM real.
# The device alone proves nothing: there are KVM back ends that cannot run an ordinary guest. `moat doctor`
# asks KVM itself.
kvm_usable() {
    [[ -c /dev/kvm ]] || { KVM_REASON="there is no /dev/kvm"; return 1; }
    { : <>/dev/kvm; } 2>/dev/null || { KVM_REASON="/dev/kvm cannot be opened by $(id -un)"; return 1; }
    grep -qwE 'vmx|svm' /proc/cpuinfo || { KVM_REASON="this CPU offers neither vmx nor svm, so KVM cannot run an ordinary guest"; return 1; }
}

# True if microVMs have to run in the testbed; KVM_REASON says why. MOAT_TESTBED=always|never overrides.
use_testbed() {
    KVM_REASON=
    case ${MOAT_TESTBED:-auto} in
        always) KVM_REASON="MOAT_TESTBED=always" ;;
        never) return 1 ;;
        auto) ! kvm_usable ;;
        *) die "MOAT_TESTBED=$MOAT_TESTBED is not known." "It is always, never or auto." ;;
    esac
}
