//! Containers: their records, states and verbs.
