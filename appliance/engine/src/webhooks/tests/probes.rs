//! What whoever may name a URL learns of networks that he cannot see: nothing.

use super::*;

#[tokio::test]
async fn whatever_is_wrong_with_a_receiver_that_gives_no_answer_is_told_in_the_same_words() {
    let rig = Rig::new(|settings| settings.patience = Duration::from_millis(200));
    let silent = Receiver::new(|_| String::new()).await;
    let other = Receiver::new(|_| "SSH-2.0-OpenSSH_9.2\r\n".into()).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    for url in [
        silent.url.clone(),
        silent.url.replace("http:", "https:"),
        other.url.clone(),
        other.url.replace("http:", "https:"),
        format!("http://{closed}/"),
        "http://no-such-name.invalid/".into(),
    ] {
        let why = rig.failure(&url).await;
        assert_eq!(why, "the receiver could not be reached, or did not answer in time", "{url}");
    }
    let refusing = Receiver::new(|_| answer("403 Who-is-this.example")).await;
    assert_eq!(rig.failure(&refusing.url).await, "the receiver answers 403");
}

#[tokio::test]
async fn a_name_does_not_tell_the_address_that_it_has_inside() {
    let mut inner = Receiver::new(|_| answer("200 OK")).await;
    let rig = Rig::new(|settings| settings.allowed = Vec::new());
    let why = rig.failure(&inner.url.replace("127.0.0.1", "localhost")).await;
    assert_eq!(why, "the receiver's address is none that events may be sent to");
    assert!(!inner.has_more(), "somebody came to it");
}

#[test]
fn private_networks_are_closed_until_they_are_named() {
    let named = Settings { allowed: vec![network("10.1.2.0/24"), network("fd07::/64")], ..Settings::default() };
    for host in ["10.1.2.3", "[fd07::5]", "[::ffff:10.1.2.3]"] {
        let url = format!("https://{host}:22/");
        assert_eq!(check_url(&named, &url), Ok(()), "{url}");
        assert!(check_url(&Settings::default(), &url).is_err(), "{url}");
    }
    for host in ["10.1.3.3", "172.16.0.1", "172.31.255.1", "192.168.1.1", "100.64.0.1", "100.127.0.1", "[fc00::1]"] {
        assert!(check_url(&named, &format!("https://{host}/")).is_err(), "{host}");
    }
    for host in ["172.32.0.1", "100.128.0.1", "192.169.0.1", "[2001:db8::1]"] {
        assert_eq!(check_url(&named, &format!("https://{host}/")), Ok(()), "{host}");
    }
}
