//! The store from outside: behaviour, random command sequences, a disk that fills up, kills at random moments.
//!
//! `packaging/check crash` runs the same tests longer: `LEASEHOLD_KILLS` (kills), `PROPTEST_CASES` (random sequences),
//! `LEASEHOLD_SMALL_DISK` (an empty folder on a small file system, see `full_disk::a_real_disk_that_fills_up`).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, helpers included"
)]

mod behaviour;
mod common;
mod crash;
mod events;
mod full_disk;
mod leases;
mod random;
