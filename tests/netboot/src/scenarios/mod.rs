//! What is looked at, in this order: later scenarios rest on no earlier one.

mod addresses;
mod boot;
mod conflicts;
mod hostile;
mod interruptions;
mod load;
mod real_clients;
mod relay;

use crate::world::World;
use anyhow::Result;

type Scenario = fn(&mut World) -> Result<String>;

pub(crate) const ALL: [(&str, Scenario); 18] = [
    ("machines without a job get an address, and a file only to go on to their disk", addresses::no_job),
    ("renew, rebind, inform, decline, release", addresses::life_of_an_address),
    ("broadcast flag", addresses::broadcast_flag),
    ("the same address after a kill", addresses::after_a_kill),
    ("busybox udhcpc", real_clients::udhcpc),
    ("ISC dhclient", real_clients::dhclient),
    ("boot of a node with a job", boot::run),
    ("a squatter on a pool address", conflicts::squatter),
    ("a rival DHCP server", conflicts::rival),
    ("an interface that is not named", conflicts::unnamed_interface),
    ("hostile DHCP", hostile::dhcp),
    ("hostile TFTP", hostile::tftp),
    ("hostile HTTP", hostile::http),
    ("relays", relay::run),
    ("100 TFTP transfers at once", load::run),
    ("link down and up", interruptions::link),
    ("interface deleted and made again", interruptions::deleted),
    ("a second start", interruptions::second_start),
];
