//! The messages that open a session (sections 13.17 to 13.24) and the proofs in them. Both ends use the same
//! [`Exchange`]: the console proves that it knows the password, the BMC proves it first.

use std::fmt;

use super::cipher::{CipherSuite, Keys};
use super::message::Privilege;
use super::reader::{Malformed, Reader};

/// Longest user name of RAKP 1 and longest password of IPMI 2.0, in bytes.
pub const USER_MAX: usize = 16;
pub const PASSWORD_MAX: usize = 20;

/// The role byte's bit that asks for a look-up by name alone, whatever the user's privilege.
pub const NAME_ONLY: u8 = 0x10;

/// Status codes of the handshake (table 13-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u8);

impl Status {
    pub const OK: Status = Status(0x00);
    pub const NO_RESOURCES: Status = Status(0x01);
    pub const INVALID_SESSION: Status = Status(0x02);
    pub const INVALID_AUTHENTICATION: Status = Status(0x04);
    pub const INVALID_ROLE: Status = Status(0x09);
    pub const UNAUTHORIZED_ROLE: Status = Status(0x0a);
    pub const UNAUTHORIZED_NAME: Status = Status(0x0d);
    pub const INVALID_CODE: Status = Status(0x0f);
    pub const NO_SUITE: Status = Status(0x11);

    /// The BMC does not take the algorithms that were offered; another suite may do.
    pub fn is_about_suite(self) -> bool {
        matches!(self.0, 0x04 | 0x05 | 0x06 | 0x07 | 0x10 | 0x11 | 0x12)
    }

    /// The BMC does not take this user, password or privilege.
    pub fn is_about_user(self) -> bool {
        matches!(self.0, 0x09 | 0x0a | 0x0c | 0x0d | 0x0f)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0x00 => "no error",
            0x01 => "it has no room for another session",
            0x02 => "it does not know the session",
            0x03 => "invalid payload type",
            0x04 => "it does not take the authentication algorithm",
            0x05 => "it does not take the integrity algorithm",
            0x06 => "no matching authentication payload",
            0x07 => "no matching integrity payload",
            0x08 => "the session is inactive",
            0x09 => "it does not know the privilege asked for",
            0x0a => "the user may not have the privilege asked for",
            0x0b => "it has no room for another session of this privilege",
            0x0c => "the user name has a length it does not take",
            0x0d => "it does not know the user name",
            0x0e => "it does not take the GUID",
            0x0f => "the proof of the password is wrong",
            0x10 => "it does not take the confidentiality algorithm",
            0x11 => "it has no cipher suite like that",
            0x12 => "a parameter is illegal",
            _ => "no known reason",
        };
        write!(f, "{text} (status {:#04x})", self.0)
    }
}

/// RMCP+ Open Session Request: the algorithms the console wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenRequest {
    pub tag: u8,
    /// Highest privilege the session may be raised to; 0 asks for what the user may.
    pub privilege: u8,
    pub console_id: u32,
    pub authentication: u8,
    pub integrity: u8,
    pub confidentiality: u8,
}

impl OpenRequest {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.privilege, 0, 0];
        out.extend(self.console_id.to_le_bytes());
        push_algorithms(&mut out, self.authentication, self.integrity, self.confidentiality);
        out
    }

    /// # Errors
    /// [`Malformed`] when cut, or when the algorithm blocks are not three of eight bytes.
    pub fn parse(payload: &[u8]) -> Result<OpenRequest, Malformed> {
        let mut reader = Reader::new(payload);
        let [tag, privilege, ..] = reader.array::<4>()?;
        let console_id = reader.u32()?;
        let (authentication, integrity, confidentiality) = read_algorithms(&mut reader)?;
        Ok(OpenRequest { tag, privilege: privilege & 0x0f, console_id, authentication, integrity, confidentiality })
    }
}

/// RMCP+ Open Session Response. After a refusal only `tag`, `status` and `console_id` mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenResponse {
    pub tag: u8,
    pub status: Status,
    pub privilege: u8,
    pub console_id: u32,
    pub bmc_id: u32,
    pub authentication: u8,
    pub integrity: u8,
    pub confidentiality: u8,
}

impl OpenResponse {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status.0, self.privilege, 0];
        out.extend(self.console_id.to_le_bytes());
        if self.status == Status::OK {
            out.extend(self.bmc_id.to_le_bytes());
            push_algorithms(&mut out, self.authentication, self.integrity, self.confidentiality);
        }
        out
    }

    /// # Errors
    /// [`Malformed`] when cut, or when a success does not carry three algorithm blocks.
    pub fn parse(payload: &[u8]) -> Result<OpenResponse, Malformed> {
        let mut reader = Reader::new(payload);
        let [tag, status, privilege, _] = reader.array::<4>()?;
        let console_id = reader.u32()?;
        let mut response = OpenResponse {
            tag,
            status: Status(status),
            privilege,
            console_id,
            bmc_id: 0,
            authentication: 0,
            integrity: 0,
            confidentiality: 0,
        };
        if response.status == Status::OK {
            response.bmc_id = reader.u32()?;
            (response.authentication, response.integrity, response.confidentiality) = read_algorithms(&mut reader)?;
        }
        Ok(response)
    }
}

fn push_algorithms(out: &mut Vec<u8>, authentication: u8, integrity: u8, confidentiality: u8) {
    for (kind, algorithm) in [(0, authentication), (1, integrity), (2, confidentiality)] {
        out.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
}

fn read_algorithms(reader: &mut Reader<'_>) -> Result<(u8, u8, u8), Malformed> {
    let mut found = [0; 3];
    for (kind, slot) in found.iter_mut().enumerate() {
        let block: [u8; 8] = reader.array()?;
        // A length of 0 means "whatever you like best": allowed for a request, but never what we send or want.
        if usize::from(block[0]) != kind || block[3] != 8 {
            return Err(Malformed("the algorithms of the session are not as specified"));
        }
        *slot = block[4] & 0x3f;
    }
    let [authentication, integrity, confidentiality] = found;
    Ok((authentication, integrity, confidentiality))
}

/// RAKP message 1: who the console is, and its random number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp1 {
    pub tag: u8,
    pub bmc_id: u32,
    pub random: [u8; 16],
    pub role: u8,
    pub user: Vec<u8>,
}

impl Rakp1 {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, 0, 0, 0];
        out.extend(self.bmc_id.to_le_bytes());
        out.extend(self.random);
        out.extend([self.role, 0, 0, self.user.len() as u8]);
        out.extend_from_slice(&self.user);
        out
    }

    /// # Errors
    /// [`Malformed`] when cut, or when the name is longer than the 16 bytes there are.
    pub fn parse(payload: &[u8]) -> Result<Rakp1, Malformed> {
        let mut reader = Reader::new(payload);
        let [tag, ..] = reader.array::<4>()?;
        let bmc_id = reader.u32()?;
        let random = reader.array()?;
        let [role, _, _, len] = reader.array::<4>()?;
        if usize::from(len) > USER_MAX {
            return Err(Malformed("the user name is longer than 16 bytes"));
        }
        Ok(Rakp1 { tag, bmc_id, random, role, user: reader.take(usize::from(len))?.to_vec() })
    }
}

/// RAKP message 2: the BMC's random number, its GUID and its proof. After a refusal only the first three matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp2 {
    pub tag: u8,
    pub status: Status,
    pub console_id: u32,
    pub random: [u8; 16],
    pub guid: [u8; 16],
    pub code: Vec<u8>,
}

impl Rakp2 {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status.0, 0, 0];
        out.extend(self.console_id.to_le_bytes());
        if self.status == Status::OK {
            out.extend(self.random);
            out.extend(self.guid);
            out.extend_from_slice(&self.code);
        }
        out
    }

    /// # Errors
    /// [`Malformed`] when cut.
    pub fn parse(payload: &[u8]) -> Result<Rakp2, Malformed> {
        let mut reader = Reader::new(payload);
        let [tag, status, ..] = reader.array::<4>()?;
        let console_id = reader.u32()?;
        let status = Status(status);
        if status != Status::OK {
            return Ok(Rakp2 { tag, status, console_id, random: [0; 16], guid: [0; 16], code: Vec::new() });
        }
        let (random, guid) = (reader.array()?, reader.array()?);
        Ok(Rakp2 { tag, status, console_id, random, guid, code: reader.rest().to_vec() })
    }
}

/// RAKP message 3: the console's proof, or why it gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp3 {
    pub tag: u8,
    pub status: Status,
    pub bmc_id: u32,
    pub code: Vec<u8>,
}

impl Rakp3 {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status.0, 0, 0];
        out.extend(self.bmc_id.to_le_bytes());
        out.extend_from_slice(&self.code);
        out
    }

    /// # Errors
    /// [`Malformed`] when cut.
    pub fn parse(payload: &[u8]) -> Result<Rakp3, Malformed> {
        let mut reader = Reader::new(payload);
        let [tag, status, ..] = reader.array::<4>()?;
        Ok(Rakp3 { tag, status: Status(status), bmc_id: reader.u32()?, code: reader.rest().to_vec() })
    }
}

/// RAKP message 4: the BMC shows that it has come to the same session key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp4 {
    pub tag: u8,
    pub status: Status,
    pub console_id: u32,
    pub code: Vec<u8>,
}

impl Rakp4 {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status.0, 0, 0];
        out.extend(self.console_id.to_le_bytes());
        out.extend_from_slice(&self.code);
        out
    }

    /// # Errors
    /// [`Malformed`] when cut.
    pub fn parse(payload: &[u8]) -> Result<Rakp4, Malformed> {
        let mut reader = Reader::new(payload);
        let [tag, status, ..] = reader.array::<4>()?;
        Ok(Rakp4 { tag, status: Status(status), console_id: reader.u32()?, code: reader.rest().to_vec() })
    }
}

/// Everything both ends know after RAKP 2, of which the proofs and the keys are made.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub suite: CipherSuite,
    pub console_id: u32,
    pub bmc_id: u32,
    pub console_random: [u8; 16],
    pub bmc_random: [u8; 16],
    pub guid: [u8; 16],
    pub role: u8,
    pub user: Vec<u8>,
}

impl Exchange {
    fn name(&self) -> Vec<u8> {
        let mut name = vec![self.role, self.user.len() as u8];
        name.extend_from_slice(&self.user);
        name
    }

    /// The proof of RAKP 2 by whoever knows the password.
    pub fn bmc_proof(&self, password: &[u8]) -> Vec<u8> {
        self.with_bmc_parts(|parts| self.suite.mac(password, parts))
    }

    /// Whether `code` is the proof of RAKP 2.
    pub fn check_bmc_proof(&self, password: &[u8], code: &[u8]) -> bool {
        self.with_bmc_parts(|parts| self.suite.verify(password, parts, code, self.suite.digest_len()))
    }

    fn with_bmc_parts<T>(&self, use_parts: impl FnOnce(&[&[u8]]) -> T) -> T {
        use_parts(&[
            &self.console_id.to_le_bytes(),
            &self.bmc_id.to_le_bytes(),
            &self.console_random,
            &self.bmc_random,
            &self.guid,
            &self.name(),
        ])
    }

    /// The proof of RAKP 3.
    pub fn console_proof(&self, password: &[u8]) -> Vec<u8> {
        self.suite.mac(password, &[&self.bmc_random, &self.console_id.to_le_bytes(), &self.name()])
    }

    /// Whether `code` is the proof of RAKP 3.
    pub fn check_console_proof(&self, password: &[u8], code: &[u8]) -> bool {
        let parts: &[&[u8]] = &[&self.bmc_random, &self.console_id.to_le_bytes(), &self.name()];
        self.suite.verify(password, parts, code, self.suite.digest_len())
    }

    /// The session's keys. `key` is the BMC key K_G where one is set, the password otherwise.
    pub fn keys(&self, key: &[u8]) -> Keys {
        let sik = self.suite.mac(key, &[&self.console_random, &self.bmc_random, &self.name()]);
        Keys::derive(self.suite, sik)
    }

    /// The check value of RAKP 4.
    pub fn key_proof(&self, keys: &Keys) -> Vec<u8> {
        let mut code = self.suite.mac(keys.sik(), &[&self.console_random, &self.bmc_id.to_le_bytes(), &self.guid]);
        code.truncate(self.suite.truncated_len());
        code
    }

    /// Whether `code` is the check value of RAKP 4.
    pub fn check_key_proof(&self, keys: &Keys, code: &[u8]) -> bool {
        let parts: &[&[u8]] = &[&self.console_random, &self.bmc_id.to_le_bytes(), &self.guid];
        self.suite.verify(keys.sik(), parts, code, self.suite.truncated_len())
    }
}

/// The role byte of RAKP 1 for a session that may be raised to `privilege`.
pub fn role(privilege: Privilege) -> u8 {
    NAME_ONLY | privilege.code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_open_request_has_the_bytes_of_the_specification() {
        let suite = CipherSuite::Suite17;
        let request = OpenRequest {
            tag: 1,
            privilege: 4,
            console_id: 0x0403_0201,
            authentication: suite.authentication(),
            integrity: suite.integrity(),
            confidentiality: suite.confidentiality(),
        };
        let bytes = request.encode();
        assert_eq!(bytes[..8], [1, 4, 0, 0, 1, 2, 3, 4]);
        assert_eq!(bytes[8..], [0, 0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 8, 4, 0, 0, 0, 2, 0, 0, 8, 1, 0, 0, 0]);
        assert_eq!(OpenRequest::parse(&bytes), Ok(request));
    }

    #[test]
    fn a_name_longer_than_sixteen_bytes_is_refused() {
        let rakp = Rakp1 { tag: 0, bmc_id: 1, random: [0; 16], role: 0x14, user: vec![b'a'; 17] };
        assert!(Rakp1::parse(&rakp.encode()).is_err());
    }

    #[test]
    fn proofs_depend_on_the_password_and_on_every_part() {
        for suite in CipherSuite::ALL {
            let exchange = Exchange {
                suite,
                console_id: 1,
                bmc_id: 2,
                console_random: [3; 16],
                bmc_random: [4; 16],
                guid: [5; 16],
                role: 0x14,
                user: b"root".to_vec(),
            };
            let proof = exchange.bmc_proof(b"calvin");
            assert!(exchange.check_bmc_proof(b"calvin", &proof));
            assert!(!exchange.check_bmc_proof(b"Calvin", &proof));
            assert!(!exchange.check_bmc_proof(b"calvin", &proof[..proof.len() - 1]));
            assert!(!exchange.check_bmc_proof(b"calvin", b""));
            let other = Exchange { role: 0x13, ..exchange.clone() };
            assert!(!other.check_bmc_proof(b"calvin", &proof));
            assert!(!other.check_console_proof(b"calvin", &exchange.console_proof(b"calvin")));
            let keys = exchange.keys(b"calvin");
            assert!(exchange.check_key_proof(&keys, &exchange.key_proof(&keys)));
            assert!(!exchange.check_key_proof(&exchange.keys(b"other"), &exchange.key_proof(&keys)));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = OpenRequest::parse(&bytes);
            let _ = OpenResponse::parse(&bytes);
            let _ = Rakp1::parse(&bytes);
            let _ = Rakp2::parse(&bytes);
            let _ = Rakp3::parse(&bytes);
            let _ = Rakp4::parse(&bytes);
        }

        #[test]
        fn messages_come_back(tag: u8, id: u32, random: [u8; 16], guid: [u8; 16], code: Vec<u8>, user in proptest::collection::vec(any::<u8>(), 0..=16)) {
            let one = Rakp1 { tag, bmc_id: id, random, role: 0x14, user };
            prop_assert_eq!(Rakp1::parse(&one.encode()).unwrap(), one);
            let two = Rakp2 { tag, status: Status::OK, console_id: id, random, guid, code: code.clone() };
            prop_assert_eq!(Rakp2::parse(&two.encode()).unwrap(), two);
            let three = Rakp3 { tag, status: Status::OK, bmc_id: id, code: code.clone() };
            prop_assert_eq!(Rakp3::parse(&three.encode()).unwrap(), three);
            let four = Rakp4 { tag, status: Status::OK, console_id: id, code };
            prop_assert_eq!(Rakp4::parse(&four.encode()).unwrap(), four);
            let response = OpenResponse { tag, status: Status::OK, privilege: 4, console_id: id, bmc_id: 7, authentication: 3, integrity: 4, confidentiality: 1 };
            prop_assert_eq!(OpenResponse::parse(&response.encode()).unwrap(), response);
        }
    }
}
