//! Sessions of `ipmitool` 1.8.19, recorded on the wire: its proofs and keys must be ours, today and after every change.
//!
//! `ipmitool -I lanplus -C 17|3 -U admin -P password chassis power status`; it accepted RAKP 2, RAKP 4 and the response.

use super::cipher::CipherSuite;
use super::handshake::{Exchange, OpenResponse, Rakp1, Rakp2, Rakp3, Rakp4};
use super::message::{Request, Response, netfn};
use super::packet::{Packet, Plus};
use super::secure::SecureEnd;

struct Recorded {
    suite: CipherSuite,
    open: &'static str,
    rakp1: &'static str,
    rakp2: &'static str,
    rakp3: &'static str,
    rakp4: &'static str,
    request: &'static str,
    response: &'static str,
}

const SUITE_17: Recorded = Recorded {
    suite: CipherSuite::Suite17,
    open: "0600ff0706110000000000000000240000000400a4a3a2a0d8d184be0000000803000000010000080400000002000008\
        01000000",
    rakp1: "0600ff0706120000000000000000210000000000d8d184bef0e95111a592ff264727675781743e0c1400000561646d69\
        6e",
    rakp2: "0600ff0706130000000000000000480000000000a4a3a2a0b813cb680ae7316427375e9f7200ee562395a361f278e511\
        9862e6402cfc32230293a22e5714c724b63da3cbd7216018570f3954bd00639226c36b4dd2f87678",
    rakp3: "0600ff0706140000000000000000280000000000d8d184bee201fac8d7656596b5744afe9c042046566bb5abe968d8f1\
        e1ed72d9274f5241",
    rakp4: "0600ff0706150000000000000000180000000000a4a3a2a0728dd6e07c4fad30474c85ed15581996",
    request: "0600ff0706c0d8d184be030000002000ab396e09a2bf4509aa23ea20c48291010bdbb8a1cb50130c2571103e7e92f6e8\
        ffff020781e14996ea3b8d5fa6d953d16e5fa224",
    response: "0600ff0706c0a4a3a2a0010000002000483f2369f61c4d869a38cb3cb503d4b5164d70784b94d36ef0f4185322e8fc3f\
        ffff0207887e837e691cfa2910a0daa1e3c64d74",
};

const SUITE_3: Recorded = Recorded {
    suite: CipherSuite::Suite3,
    open: "0600ff0706110000000000000000240000000400a4a3a2a0da72a37e0000000801000000010000080100000002000008\
        01000000",
    rakp1: "0600ff0706120000000000000000210000000000da72a37e188214518423987ad3f0df6182fc9cd01400000561646d69\
        6e",
    rakp2: "0600ff07061300000000000000003c0000000000a4a3a2a00e237176a42d9f9d25ddc46915e550042395a361f278e511\
        9862e6402cfc322369f773f804a64b6f6eb2924042f23226ac31d5f0",
    rakp3: "0600ff07061400000000000000001c0000000000da72a37e03a0d0d1fe59461cf7f1a0ba157ad8b4cc759bdd",
    rakp4: "0600ff0706150000000000000000140000000000a4a3a2a024b9e508b4f8d839020d76a1",
    request: "0600ff0706c0da72a37e0300000020001432ea3ac8f04fd1b9b20b50a28fb5df852e36310ec93ae32f0f03ab77e900b5\
        ffff0207670aae5cc4ff775d63e5ce7b",
    response: "0600ff0706c0a4a3a2a0010000002000bc887d2b3677cde514b779d96d9f0bc6bf81a510187f5a5aa31671dbc4b69f16\
        ffff0207629526caf10a2fd6f41e4681",
};

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn plus(datagram: &[u8]) -> Plus<'_> {
    match Packet::parse(datagram) {
        Ok(Packet::Plus(plus)) => plus,
        other => panic!("{other:?}"),
    }
}

fn payload(hex: &str) -> Vec<u8> {
    plus(&bytes(hex)).payload.to_vec()
}

#[test]
fn recorded_sessions_have_our_proofs_and_keys() {
    for recorded in [SUITE_17, SUITE_3] {
        let open = OpenResponse::parse(&payload(recorded.open)).unwrap();
        let one = Rakp1::parse(&payload(recorded.rakp1)).unwrap();
        let two = Rakp2::parse(&payload(recorded.rakp2)).unwrap();
        let three = Rakp3::parse(&payload(recorded.rakp3)).unwrap();
        let four = Rakp4::parse(&payload(recorded.rakp4)).unwrap();
        let exchange = Exchange {
            suite: recorded.suite,
            console_id: open.console_id,
            bmc_id: open.bmc_id,
            console_random: one.random,
            bmc_random: two.random,
            guid: two.guid,
            role: one.role,
            user: one.user,
        };
        assert!(exchange.check_bmc_proof(b"password", &two.code));
        assert!(exchange.check_console_proof(b"password", &three.code));
        assert!(!exchange.check_console_proof(b"passwore", &three.code));
        let keys = exchange.keys(b"password");
        assert!(exchange.check_key_proof(&keys, &four.code));

        let mut bmc = SecureEnd::new(keys.clone(), open.bmc_id, open.console_id);
        let datagram = bytes(recorded.request);
        let message = bmc.open(&plus(&datagram), &datagram).unwrap();
        let request = Request::parse(&message).unwrap();
        // Set Session Privilege Level, administrator.
        assert_eq!((request.netfn, request.command, request.data), (netfn::APP, 0x3b, &[4][..]));

        let mut console = SecureEnd::new(keys, open.console_id, open.bmc_id);
        let datagram = bytes(recorded.response);
        let message = console.open(&plus(&datagram), &datagram).unwrap();
        let response = Response::parse(&message).unwrap();
        assert_eq!((response.command, response.sequence, response.data), (0x3b, request.sequence, &[4][..]));
    }
}
