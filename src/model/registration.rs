//! A session's registration by token. It must never hold the token itself.

use crate::ids::SessionId;
use sha2::{Digest, Sha256};
use std::fmt;

/// What is kept of a session token: its SHA-256.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token's text. Tokens are random and long, so that a plain hash is enough; and whoever compares
    /// hashes tells nobody by the time it takes how much of a guess was right.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex()[..8])
    }
}

/// The fact that whoever shows a token is a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The session, whose id is the row's id too.
    pub id: SessionId,
    /// The token's hash.
    pub token: TokenHash,
    /// When it was registered.
    pub registered_at: i64,
    /// When it was last renewed.
    pub renewed_at: i64,
}
