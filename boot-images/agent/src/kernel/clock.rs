//! The battery-backed clock (linux/rtc.h), so that the deployed system starts with the right time.

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use std::fs::File;

/// `struct rtc_time`: as `struct tm`.
#[repr(C)]
struct RtcTime {
    second: i32,
    minute: i32,
    hour: i32,
    day: i32,
    month: i32,
    year: i32,
    ignored: [i32; 3],
}

const RTC_SET_TIME: Opcode = opcode::write::<RtcTime>(b'p', 0x0a);

/// Sets `/dev/rtc0` to a time of UTC: (year, month 1–12, day, hour, minute, second).
///
/// # Errors
/// The kernel's; a machine without such a clock has no device.
pub fn set_hardware_clock(date: (i32, u32, u32), time: (u32, u32, u32)) -> std::io::Result<()> {
    let small = |value: u32| i32::try_from(value).unwrap_or(0);
    let rtc = RtcTime {
        second: small(time.2),
        minute: small(time.1),
        hour: small(time.0),
        day: small(date.2),
        month: small(date.1) - 1,
        year: date.0 - 1900,
        ignored: [0; 3],
    };
    let device = File::open("/dev/rtc0")?;
    // SAFETY: RTC_SET_TIME reads one struct rtc_time (nine C ints, laid out as RtcTime) from the pointer.
    unsafe { ioctl(&device, Setter::<RTC_SET_TIME, RtcTime>::new(rtc)) }?;
    Ok(())
}
