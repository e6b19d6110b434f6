//! Redirects to where no image is fetched from, by a server on real sockets and a trap on an inner address.

use super::*;

/// Where the trap stands: inner, and on the port of the server that redirects.
const TRAP: &str = "127.0.0.66";

/// A listener to whom nobody should come.
struct Trap(std::net::TcpListener);

impl Trap {
    fn set() -> Trap {
        let listener = std::net::TcpListener::bind((TRAP, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        Trap(listener)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    fn is_untouched(&self) {
        let came = self.0.accept().map(|(_, from)| from);
        assert!(came.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{came:?}");
    }
}

/// All that is never fetched from, and two networks of the box, but for the one address where the test's server is.
fn rig() -> Rig {
    Rig::new(|settings| {
        settings.forbidden = never_fetched_from();
        settings
            .forbidden
            .extend(["10.66.0.0/16", "10.67.0.1/24"].map(|text| text.parse::<Network>().expect("a network")));
        settings.allowed = vec!["127.0.0.1".parse().expect("a network")];
    })
}

/// Where a redirect may point, and what the refusal says.
fn places(port: u16) -> Vec<(String, &'static str)> {
    const INNER: &str = "management address";
    let mut places = Vec::new();
    // Loopback, metadata, BMCs, machines; in the spellings of URLs and of the C library.
    for host in [
        TRAP,
        "127.66",
        "0x7f000042",
        "0x7f.0.0.0x42",
        "017700000102",
        "0177.0.0.0102",
        "2130706498",
        "[::ffff:127.0.0.66]",
        "[::FFFF:7f00:42]",
        "[::127.0.0.66]",
        "[64:ff9b::7f00:42]",
        "[2002:7f00:42::]",
        "[::1]",
        "[::]",
        "0.0.0.0",
        "0",
        "169.254.169.254",
        "2852039166",
        "[fe80::1]",
        "10.66.3.4",
        "10.67.0.9",
        "[::ffff:10.66.3.4]",
        "ada:secret@127.0.0.66",
        "127.0.0.1@127.0.0.66",
        "localhost.localdomain@0x7f000042",
    ] {
        places.push((format!("http://{host}:{port}/x"), INNER));
        places.push((format!("https://{host}:{port}/x"), INNER));
        places.push((format!("//{host}:{port}/x"), INNER));
    }
    for (url, words) in [
        ("file:///dev/zero", "redirect to nowhere"),
        ("file://127.0.0.66/dev/zero", "only http, https"),
        ("ftp://127.0.0.66/x", "only http, https"),
        ("gopher://127.0.0.66:25/_x", "only http, https"),
        ("dict://127.0.0.66:11211/stat", "only http, https"),
        ("unix:///run/leasehold/leasehold.sock", "redirect to nowhere"),
        ("data:,x", "redirect to nowhere"),
        ("javascript:x", "redirect to nowhere"),
        ("http:///x", "redirect to nowhere"),
        ("http:", "redirect to nowhere"),
        ("", "redirect to nowhere"),
    ] {
        places.push((url.to_owned(), words));
    }
    places
}

/// A server that sends everybody there.
async fn sends_to(place: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    server(sends(answer("302 Found", &format!("Location: {place}\r\nContent-Length: 0\r\n"), b""))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_leads_to_an_inner_address() {
    let rig = rig();
    let trap = Trap::set();
    let port = trap.address().port();
    for (place, words) in places(port) {
        let (address, requests) = sends_to(&place).await;
        let refused = rig.provide(&format!("http://{address}/x"), Some(sha256(b"x"))).await.expect_err(&place);
        let refused = refused.to_string();
        // What is neither an address nor a name to TLS is refused before anybody is asked where it leads.
        let no_name = place.starts_with("https:") && refused.contains("invalid dns name");
        assert!(refused.contains(words) || no_name, "{place}: {refused}");
        assert!(!refused.contains("secret"), "{place}: {refused}");
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{place}");
    }
    trap.is_untouched();
    rig.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_redirects_ends_inside_or_never() {
    let rig = rig();
    let trap = Trap::set();
    let inner = trap.address();
    // Three good steps do not make the fourth one good.
    let (last, _) = sends_to(&format!("http://{inner}/x")).await;
    let (second, _) = sends_to(&format!("http://{last}/x")).await;
    let (first, _) = sends_to(&format!("http://{second}/x")).await;
    let refused = rig.provide(&format!("http://{first}/x"), Some(sha256(b"x"))).await.expect_err("inside").to_string();
    assert!(refused.contains("management address"), "{refused}");
    // A circle of two.
    let one = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let there = one.local_addr().expect("an address");
    drop(one);
    let (back, requests) = sends_to(&format!("http://{there}/x")).await;
    let around =
        sends(answer("301 Moved Permanently", &format!("Location: http://{back}/x\r\nContent-Length: 0\r\n"), b""));
    let listener = TcpListener::bind(there).await.expect("the port again");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.expect("a request"));
            }
            around(socket).await;
        }
    });
    let refused = rig.provide(&format!("http://{back}/x"), Some(sha256(b"x"))).await.expect_err("a circle").to_string();
    assert!(refused.contains("more than 5 redirects"), "{refused}");
    assert!(requests.load(Ordering::SeqCst) <= 4);
    trap.is_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_within_what_is_allowed_is_followed_without_the_password() {
    let rig = rig();
    let bytes = disk(MIB, MIB, 9);
    let heads = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let there = listener.local_addr().expect("an address");
    let (seen, reply) = (heads.clone(), good_answer(&bytes));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.expect("a request"));
            }
            seen.lock().expect("no panic").push(String::from_utf8(head).expect("ASCII").to_lowercase());
            drop(socket.write_all(&reply).await);
        }
    });
    let (first, _) = sends_to(&format!("http://{there}/x")).await;
    let image = rig.provide(&format!("http://ada:secret@{first}/x"), Some(sha256(&bytes))).await.expect("provided");
    assert_eq!(image.content.as_ref().map(|content| content.raw_size), Some(bytes.len() as u64));
    let heads = heads.lock().expect("no panic");
    assert!(heads.len() == 1 && !heads[0].contains("authorization"), "another server's password: {heads:?}");
}
