//! Images on their way: whole, cut, altered, too large, made for other sectors.

use super::{Answer, MIB, Request, TestServer, dirty_disk, packed, part, sha256, system_image};
use crate::console::Kept;
use crate::disk::{Disk, Gpt};
use crate::failure::{Failure, Kind};
use crate::image::{Expected, Pace, Source, validate, write_blocks, write_raw};
use leasehold_wire::agent::ImageInfo;
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PACE: Pace = Pace { tries: 4, pause: Duration::from_millis(1), streams: 3 };

struct Outcome {
    result: Result<(), Failure>,
    disk: Vec<u8>,
    said: String,
    _folder: tempfile::TempDir,
}

struct Case {
    disk_size: usize,
    sector: u32,
    mapped: bool,
}

const MAPPED: Case = Case { disk_size: 32 * MIB, sector: 512, mapped: true };
const RAW: Case = Case { disk_size: 32 * MIB, sector: 512, mapped: false };

/// Writes the image that `serve` gives out (path, request) onto a dirty disk.
fn write(case: &Case, image: &[u8], serve: impl Fn(&str, &Request) -> Answer + Send + Sync + 'static) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = dirty_disk(folder.path(), "disk", case.disk_size);
    let disk = Disk::open_file(&path, case.sector).unwrap();
    let server = TestServer::start(move |request| serve(&request.head.target, request));
    let info = ImageInfo {
        id: "test".into(),
        urls: vec![format!("{}/raw", server.url)],
        os_hash_algo: Some("sha256".into()),
        os_hash_value: Some(sha256(image)),
        leasehold_map_url: case.mapped.then(|| format!("{}/map?ticket=x", server.url)),
        ..ImageInfo::default()
    };
    let expected = validate(&info).unwrap();
    let kept = Kept::default();
    let run = || -> Result<(), Failure> {
        let client = server.client();
        match Source::open(&client, &info, &expected, PACE)? {
            Source::Blocks { map, data, trusted } => {
                assert!(trusted);
                write_blocks(&client, &map, &data, &disk, &kept.console(), PACE, None)
            }
            Source::Raw { urls, size } => {
                write_raw(&client, &urls, size, &expected, &disk, &kept.console(), PACE).map(|_| ())
            }
        }
    };
    Outcome { result: run(), disk: std::fs::read(&path).unwrap(), said: kept.text(), _folder: folder }
}

fn image(sector: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    system_image(folder.path(), sector)
}

/// Serves map, data and raw image properly, but lets `spoil` change what goes out.
fn spoiled(
    image: &[u8],
    spoil: impl Fn(&str, &Request, &mut Answer) + Send + Sync + 'static,
) -> impl Fn(&str, &Request) -> Answer + Send + Sync + 'static {
    let (map, data) = packed(image);
    let (map, raw) = (serde_json::to_vec(&map).unwrap(), image.to_vec());
    move |target, request| {
        let mut answer = match target {
            "/map?ticket=x" => part(request, &map),
            "/data?ticket=x" => part(request, &data),
            "/raw" => part(request, &raw),
            _ => Answer { status: 404, ..Answer::default() },
        };
        spoil(target, request, &mut answer);
        answer
    }
}

fn assert_whole(outcome: &Outcome, image: &[u8]) {
    assert_eq!(outcome.result, Ok(()), "{}", outcome.said);
    // Not assert_eq, which would print megabytes.
    assert!(outcome.disk[..image.len()] == *image, "the disk does not hold the image");
}

/// What an error leaves behind can never boot.
fn assert_no_table(outcome: &Outcome) {
    assert!(outcome.disk[..MIB].iter().all(|byte| *byte == 0), "a partition table is there");
}

fn assert_untouched(outcome: &Outcome, case: &Case) {
    let folder = tempfile::tempdir().unwrap();
    let before = std::fs::read(dirty_disk(folder.path(), "disk", case.disk_size)).unwrap();
    assert!(outcome.disk == before, "the disk was touched");
}

#[test]
fn both_ways_write_every_byte_and_holes_become_zeros() {
    let image = image(512);
    for case in [MAPPED, RAW] {
        assert_whole(&write(&case, &image, spoiled(&image, |_, _, _| {})), &image);
    }
}

#[test]
fn what_breaks_off_is_taken_up_where_it_broke() {
    let image = image(512);
    for case in [MAPPED, RAW] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let outcome = write(
            &case,
            &image,
            spoiled(&image, move |target, _, answer| {
                // The map is small; of everything else, two answers of three stop half-way.
                if !target.starts_with("/map") && counter.fetch_add(1, Ordering::SeqCst) % 3 != 2 {
                    answer.cut = Some(answer.body.len() / 2);
                }
            }),
        );
        assert_whole(&outcome, &image);
        assert!(calls.load(Ordering::SeqCst) >= 3);
        assert!(
            outcome.said.contains("broke off at byte") && outcome.said.contains("trying again"),
            "{}",
            outcome.said
        );
    }
}

#[test]
fn a_server_that_always_stops_is_an_error_that_says_where() {
    let image = image(512);
    for (case, path) in [(MAPPED, "/data"), (RAW, "/raw")] {
        let outcome = write(
            &case,
            &image,
            spoiled(&image, move |target, request, answer| {
                // The first block gets through, nothing that begins later does.
                if target.starts_with(path) {
                    let late = request.range().is_some_and(|(from, _)| from > 0);
                    answer.cut = Some(if late { 0 } else { 2 * MIB });
                }
            }),
        );
        let failure = outcome.result.clone().unwrap_err();
        assert_eq!(failure.kind, Kind::ImageDownload);
        assert!(failure.details.contains(path) && failure.details.contains("in 4 tries"), "{failure}");
        assert_no_table(&outcome);
    }
}

#[test]
fn a_raw_server_without_ranges_starts_over() {
    let image = image(512);
    let (calls, whole) = (AtomicUsize::new(0), image.clone());
    let outcome = write(&RAW, &image, move |_, _| {
        let cut = (calls.fetch_add(1, Ordering::SeqCst) < 2).then_some(5 * MIB);
        Answer { status: 200, body: whole.clone(), cut, ..Answer::default() }
    });
    assert_whole(&outcome, &image);
}

#[test]
fn altered_bytes_are_caught() {
    let image = image(512);
    for (case, path) in [(MAPPED, "/data"), (RAW, "/raw")] {
        let outcome = write(
            &case,
            &image,
            spoiled(&image, move |target, request, answer| {
                let from = request.range().map_or(0, |(from, _)| from);
                let at = if path == "/raw" { 13 * MIB } else { 3 * MIB };
                if target.starts_with(path) && (from..from + answer.body.len()).contains(&at) {
                    answer.body[at - from] ^= 1;
                }
            }),
        );
        assert_eq!(outcome.result.clone().unwrap_err().kind, Kind::ImageChecksum, "{}", outcome.said);
        assert_no_table(&outcome);
    }
}

#[test]
fn another_images_map_is_refused_before_anything_is_written() {
    let (image, folder) = (image(512), tempfile::tempdir().unwrap());
    let mut other = system_image(folder.path(), 512);
    other[13 * MIB] ^= 1;
    let outcome = write(&MAPPED, &image, spoiled(&other, |_, _, _| {}));
    let failure = outcome.result.clone().unwrap_err();
    assert_eq!(failure.kind, Kind::ImageChecksum);
    assert!(failure.details.contains("nothing was written"), "{failure}");
    assert_untouched(&outcome, &MAPPED);
}

#[test]
fn a_map_that_is_none_is_refused() {
    let image = image(512);
    for body in [&b"{"[..], b"{}", b"<html>"] {
        let outcome = write(
            &MAPPED,
            &image,
            spoiled(&image, move |target, _, answer| {
                if target.starts_with("/map") {
                    answer.body = body.to_vec();
                }
            }),
        );
        assert_eq!(outcome.result.clone().unwrap_err().kind, Kind::ImageDownload);
        assert_untouched(&outcome, &MAPPED);
    }
}

#[test]
fn what_is_gone_or_is_not_the_maps_is_said_at_once() {
    let image = image(512);
    for (status, field, words) in [
        (404, None, "was the image deleted?"),
        (416, None, "shorter than its map says"),
        (200, None, "cannot send parts"),
        (206, Some("bytes 0-9/10"), "not that of the map"),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let outcome = write(
            &MAPPED,
            &image,
            spoiled(&image, move |target, _, answer| {
                if target.starts_with("/data") {
                    counter.fetch_add(1, Ordering::SeqCst);
                    answer.status = status;
                    if let Some(value) = field {
                        answer.fields = vec![("Content-Range".into(), value.into())];
                    }
                }
            }),
        );
        let failure = outcome.result.clone().unwrap_err();
        assert!(failure.details.contains(words), "{failure}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_untouched(&outcome, &MAPPED);
    }
}

#[test]
fn an_image_larger_than_the_disk_changes_nothing() {
    let image = image(512);
    for case in [Case { disk_size: 16 * MIB, ..MAPPED }, Case { disk_size: 16 * MIB, ..RAW }] {
        let outcome = write(&case, &image, spoiled(&image, |_, _, _| {}));
        let failure = outcome.result.clone().unwrap_err();
        assert_eq!(failure.kind, Kind::ImageWrite);
        assert!(failure.details.contains("25165824 bytes"), "{failure}");
        assert_untouched(&outcome, &case);
    }
}

#[test]
fn an_image_for_other_sectors_changes_nothing() {
    for (of_image, of_disk) in [(512, 4096), (4096, 512)] {
        let image = image(of_image);
        for case in [Case { sector: of_disk, ..MAPPED }, Case { sector: of_disk, ..RAW }] {
            let outcome = write(&case, &image, spoiled(&image, |_, _, _| {}));
            let failure = outcome.result.clone().unwrap_err();
            assert!(failure.details.contains(&format!("{of_image}-byte sectors")), "{failure}");
            assert_untouched(&outcome, &case);
        }
        let case = Case { sector: of_image, ..MAPPED };
        assert_whole(&write(&case, &image, spoiled(&image, |_, _, _| {})), &image);
    }
}

#[test]
fn redirects_and_further_addresses_are_followed() {
    let image = image(512);
    let whole = image.clone();
    let outcome = write(&RAW, &image, move |target, request| match target {
        "/raw" => Answer { status: 302, fields: vec![("Location".into(), "/elsewhere".into())], ..Answer::default() },
        "/elsewhere" => part(request, &whole),
        _ => Answer { status: 500, ..Answer::default() },
    });
    assert_whole(&outcome, &image);
}

#[test]
fn an_untrusted_map_is_checked_by_the_whole_hash() {
    let image = image(512);
    let mut other = image.clone();
    other[13 * MIB] ^= 1;
    // A map that claims to be of `image`, with the blocks of `other`.
    let (mut map, data) = packed(&other);
    map.sha256 = sha256(&image);
    let server = TestServer::start(move |request| part(request, &data));
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open_file(&dirty_disk(folder.path(), "disk", 32 * MIB), 512).unwrap();
    let expected = Expected { algorithm: &ring::digest::SHA256, hex: sha256(&image) };
    let url = crate::http::Url::parse(&format!("{}/data", server.url)).unwrap();
    let console = Kept::default().console();
    let failure = write_blocks(&server.client(), &map, &url, &disk, &console, PACE, Some(&expected)).unwrap_err();
    assert_eq!(failure.kind, Kind::ImageChecksum);
    assert!(matches!(Gpt::read(&disk), Ok(None)));
}

#[test]
fn a_stranger_with_another_certificate_gets_nothing() {
    let server = TestServer::start(|_| Answer { status: 200, ..Answer::default() });
    let other = TestServer::start(|_| Answer { status: 200, ..Answer::default() });
    let answer = other.client().call("GET", &server.url, &[], &[], 10);
    let words = answer.unwrap_err().to_string();
    assert!(
        words.contains("is not the appliance this machine was told to trust")
            && words.contains(&hex::encode(server.pin)),
        "{words}"
    );
    let nobody = crate::http::Client::new(crate::tls::client(crate::tls::Trust::Nobody).unwrap());
    assert!(nobody.call("GET", &server.url, &[], &[], 10).is_err());
}

#[test]
fn answers_that_are_too_long_are_refused() {
    let server = TestServer::start(|_| Answer { status: 200, body: vec![b'x'; 1000], ..Answer::default() });
    assert_eq!(server.client().call("GET", &server.url, &[], &[], 1000).unwrap().body.len(), 1000);
    assert!(server.client().call("GET", &server.url, &[], &[], 999).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// However blocks lie and wherever connections break, the disk holds the image in the end.
    #[test]
    fn any_layout_with_any_cuts(
        shape in proptest::collection::vec((any::<bool>(), 1usize..40_000), 1..30),
        cuts in proptest::collection::vec(proptest::option::of(0usize..200_000), 0..12),
    ) {
        let mut image = Vec::new();
        for (index, (filled, length)) in shape.iter().enumerate() {
            let bytes = if *filled { super::noise(index as u64 + 1, length * 16) } else { vec![0; length * 16] };
            image.extend_from_slice(&bytes);
        }
        image.resize(image.len().next_multiple_of(512).min(31 * MIB), 0);
        let cuts = Mutex::new(cuts);
        let serve = spoiled(&image, move |target, _, answer| {
            if target.starts_with("/data") {
                answer.cut = cuts.lock().unwrap().pop().flatten().filter(|cut| *cut < answer.body.len());
            }
        });
        let outcome = write(&Case { disk_size: 32 * MIB, ..MAPPED }, &image, serve);
        // Cuts that bring nothing may use up the tries; then the reason is told and no table is left.
        match &outcome.result {
            Ok(()) => assert_whole(&outcome, &image),
            Err(failure) => prop_assert_eq!(failure.kind, Kind::ImageDownload),
        }
    }
}
