//! Images over the routers: who may, what is refused and with which status, what an agent gets.

use super::*;
use crate::local;
use leasehold_domain::node::NodeSettings;
use ring::digest::{SHA256, SHA512, digest};
use serde_json::Map;

const IMAGES: &str = "/appliance/v1/images";
const RAW: (&str, &str) = ("content-type", "application/octet-stream");

/// A disk of 5 MiB with a partition table and something in its second block.
fn disk() -> Vec<u8> {
    let mut bytes = vec![0; 5 << 20];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[(4 << 20) + 5..][..100_000].fill(0x77);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, bytes)))
}

impl Rig {
    async fn image(&self, method: &str, path: &str, body: impl Into<Body>, headers: &[(&str, &str)]) -> Reply {
        let credentials = STANDARD.encode(format!("admin:{PASSWORD}"));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{IMAGES}{path}"))
            .header(header::AUTHORIZATION, format!("Basic {credentials}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(public(self.api.clone()), request.body(body.into()).expect("a request")).await
    }

    async fn local(&self, method: &str, path: &str, uid: Option<u32>, body: impl Into<Body>) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(format!("{IMAGES}{path}"))
            .extension(Connection { peer: None, uid, secure: false })
            .body(body.into())
            .expect("a request");
        self.send(local(self.api.clone()), request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_uploaded_shown_and_deleted() {
    let rig = Rig::new().await;
    let bytes = disk();
    let (status, image) =
        rig.image("POST", "?name=debian", bytes.clone(), &[RAW, ("x-checksum", &sha256(&bytes))]).await;
    assert_eq!(status, StatusCode::CREATED, "{image}");
    let facts = (&image["name"], &image["status"], &image["format"], &image["size"], &image["checksum"]);
    assert_eq!(facts, (&json!("debian"), &json!("active"), &json!("raw"), &json!(5 << 20), &json!(sha256(&bytes))));
    let id = image["id"].as_str().expect("a UUID");
    for ident in ["/debian", &format!("/{id}")] {
        assert_eq!(rig.image("GET", ident, "", &[]).await, (StatusCode::OK, image.clone()));
    }
    let (_, list) = rig.image("GET", "", "", &[]).await;
    assert_eq!((&list["images"][0]["id"], &list["space"]["used"]), (&image["id"], &image["stored_size"]));
    assert_eq!((&list["space"]["temporary"], &list["space"]["evictable"]), (&json!(0), &json!(0)));
    assert!(list["space"]["free"].as_u64().is_some_and(|free| free > 0));

    // The same over the local socket, by SHA-512 in the query.
    let sha512 = hex::encode(digest(&SHA512, &bytes));
    let (status, other) = rig.local("POST", &format!("?name=other&checksum={sha512}"), Some(0), bytes).await;
    assert_eq!(status, StatusCode::CREATED, "{other}");
    assert_eq!(rig.local("DELETE", "/other", Some(0), "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(rig.local("GET", "/other", Some(0), "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(rig.local("GET", "", None, "").await.0, StatusCode::FORBIDDEN, "a peer without credentials");
    assert_eq!(rig.image("DELETE", "/debian", "", &[]).await.0, StatusCode::NO_CONTENT);
    assert_eq!(rig.image("DELETE", "/debian", "", &[]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(rig.image("GET", "", "", &[]).await.1["images"], json!([]));
}

/// Status, query, body, headers, words of the refusal.
type Case<'a> = (StatusCode, &'a str, Body, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn bad_uploads_are_refused_and_leave_nothing() {
    let rig = Rig::new().await;
    let bytes = disk();
    let good = sha256(&bytes);
    let sum = ("x-checksum", good.as_str());
    let lost = Body::from_stream(futures_util::stream::iter([
        Ok(bytes::Bytes::from(bytes.clone())),
        Err(std::io::Error::other("gone")),
    ]));
    let wrong = format!("sha256:{}", "0".repeat(64));
    let text = sha256(b"text");
    let cases: [Case<'_>; 13] = [
        (StatusCode::BAD_REQUEST, "?name=x", bytes.clone().into(), &[RAW], "is missing"),
        (StatusCode::BAD_REQUEST, "?name=x", bytes.clone().into(), &[RAW, ("x-checksum", "md5:00")], "can be forged"),
        (StatusCode::BAD_REQUEST, "?name=x", bytes.clone().into(), &[RAW, ("x-checksum", &wrong)], "does not match"),
        (StatusCode::BAD_REQUEST, "", bytes.clone().into(), &[RAW, sum], "name is missing"),
        (StatusCode::BAD_REQUEST, "?name=", bytes.clone().into(), &[RAW, sum], "name is missing"),
        (StatusCode::BAD_REQUEST, "?name=a%0ab", bytes.clone().into(), &[RAW, sum], "no name for an image"),
        (StatusCode::BAD_REQUEST, "?name=x&colour=red", bytes.clone().into(), &[RAW, sum], "'colour'"),
        (StatusCode::BAD_REQUEST, "?name=x", lost, &[RAW, sum], "cut off"),
        (StatusCode::BAD_REQUEST, "?name=x", "text".into(), &[RAW, ("x-checksum", &text)], "multiple of 512"),
        (StatusCode::BAD_REQUEST, "", "{".into(), &[("content-type", "application/json")], "not what is expected"),
        (
            StatusCode::BAD_REQUEST,
            "",
            json!({"url": "http://box/x", "name": "x"}).to_string().into(),
            &[("content-type", "application/json")],
            "is missing",
        ),
        (
            StatusCode::BAD_REQUEST,
            "",
            json!({"url": "http://169.254.169.254/x", "name": "x", "checksum": good}).to_string().into(),
            &[("content-type", "application/json; charset=utf-8")],
            "link-local",
        ),
        (
            StatusCode::BAD_REQUEST,
            "",
            "x".repeat(1 << 20).into(),
            &[("content-type", "application/json")],
            "could not be read",
        ),
    ];
    for (expected, path, body, headers, words) in cases {
        let (status, answer) = rig.image("POST", path, body, headers).await;
        assert_eq!(status, expected, "{words}: {answer}");
        assert!(fault(&answer).contains(words), "{words}: {answer}");
    }
    let announced = rig.image("POST", "?name=x", vec![0; (1 << 30) + 1], &[RAW, sum]).await;
    assert_eq!(announced.0, StatusCode::PAYLOAD_TOO_LARGE);
    let stranger = Request::post(format!("{IMAGES}?name=x")).header(sum.0, sum.1).body(Body::from(bytes.clone()));
    let stranger = rig.send(public(rig.api.clone()), stranger.expect("a request")).await;
    assert_eq!(stranger.0, StatusCode::UNAUTHORIZED);
    assert_eq!(rig.image("GET", "", "", &[]).await.1["images"], json!([]));

    assert_eq!(rig.image("POST", "?name=x", bytes.clone(), &[RAW, sum]).await.0, StatusCode::CREATED);
    let (status, answer) = rig.image("POST", "?name=y", bytes, &[RAW, sum]).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(fault(&answer).contains("as 'x'"), "{answer}");
    let (status, answer) = rig.image("POST", "?name=x", "text", &[RAW, ("x-checksum", &text)]).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_an_upload_is_refused() {
    let rig = Rig::with_images(|settings| settings.quota = Some(1 << 20)).await;
    let bytes = disk();
    let (status, answer) = rig.image("POST", "?name=x", bytes.clone(), &[RAW, ("x-checksum", &sha256(&bytes))]).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{answer}");
    assert!(fault(&answer).contains("delete images"), "{answer}");
}

/// A node whose deployment of `image` has reached the agent.
async fn deploying(rig: &Rig, image: &str) -> Arc<Job> {
    let id = NodeId(Uuid::new_v4());
    let mut instance_info = Map::new();
    instance_info.insert("image_source".into(), image.into());
    let settings =
        NodeSettings { driver: "ipmi".into(), instance_info, automated_clean: Some(false), ..NodeSettings::default() };
    let give = async |command: Command| {
        rig.api.engine.store.submit(command, Actor::System("test")).await.expect("taken");
    };
    give(Command::CreateNode {
        id,
        settings: Box::new(settings),
        start: leasehold_domain::command::NodeStart::default(),
    })
    .await;
    let port = json!({"node_uuid": id, "address": "52:54:00:00:00:01"});
    assert_eq!(rig.call("POST", "/ports", port).await.0, StatusCode::CREATED);
    for verb in [Verb::Manage, Verb::Provide, Verb::Deploy] {
        let job = JobId(Uuid::new_v4());
        give(Command::Provision { node: id, verb, job, input: Box::new(JobInput::default()) }).await;
        while let Some(step) = rig.api.engine.view().job(job).and_then(|job| job.current().map(|step| step.name)) {
            give(Command::StartStep { job, step }).await;
            if step == StepName::WriteImage {
                break;
            }
            if step == StepName::PrepareImage {
                let image = rig.api.engine.view().image_by_name(image).expect("there").id;
                give(Command::UseImage { job, image }).await;
            }
            give(Command::EndStep { job, step, end: StepEnd::Done(None) }).await;
        }
    }
    let view = rig.api.engine.view();
    view.running_job(view.node(id).expect("there")).expect("deploying").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reads_the_image_of_its_job_and_nobody_deletes_it_meanwhile() {
    let rig = Rig::new().await;
    let bytes = disk();
    let (_, image) = rig.image("POST", "?name=debian", bytes.clone(), &[RAW, ("x-checksum", &sha256(&bytes))]).await;
    let job = deploying(&rig, "debian").await;
    let (status, answer) = rig.image("DELETE", "/debian", "", &[]).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(fault(&answer).contains("being deployed"), "{answer}");

    let ticket = rig.api.engine.tickets.image_ticket(&job);
    let ask = async |part: &str, range: Option<&str>| {
        let mut request = Request::get(format!("/images/{ticket}/{part}"));
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let request = request.body(Body::empty()).expect("a request");
        boot(rig.api.clone()).call(request).await.expect("routers do not fail")
    };
    let body = async |answer: axum::response::Response| answer.into_body().collect().await.expect("whole").to_bytes();
    assert!(body(ask("raw", None).await).await == bytes);
    for (range, expected) in [
        ("bytes=510-511", &bytes[510..512]),
        ("bytes=4194300-4200000", &bytes[4_194_300..=4_200_000]),
        ("bytes=-7", &bytes[bytes.len() - 7..]),
    ] {
        let answer = ask("raw", Some(range)).await;
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
        assert!(body(answer).await == expected, "{range}");
    }
    let map: Value = serde_json::from_slice(&body(ask("map", None).await).await).expect("JSON");
    assert_eq!((&map["size"], map["blocks"].as_array().map(Vec::len)), (&json!(bytes.len()), Some(2)));
    let data = body(ask("data", None).await).await;
    assert_eq!(Some(data.len() as u64), image["stored_size"].as_u64());
    assert_eq!(body(ask("data", Some("bytes=1-2")).await).await, data[1..3]);
    let beyond = ask("data", Some("bytes=99999999-")).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(ask("key", None).await.status(), StatusCode::NOT_FOUND);

    // Answers that are not read to their end hold their places.
    let mut held = Vec::new();
    let refused = loop {
        let answer = ask("data", None).await;
        match answer.status() {
            StatusCode::OK => held.push(answer),
            other => break other,
        }
        assert!(held.len() < 100, "no bound");
    };
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    held.clear();
    assert_eq!(ask("data", None).await.status(), StatusCode::OK);
}
