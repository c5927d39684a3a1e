//! Starts `moat-vmm` in its own PID namespace and cgroup, with exactly the descriptors it needs.
