//! Answers that come compressed although nobody asked for it: what stands in between does that at times.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use super::http::safe;

/// Why a body cannot be read.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Encoded {
    #[error("the answer is encoded as {0}, which was not asked for")]
    Unknown(String),
    #[error("the answer is not encoded as {0}, as it says")]
    Broken(&'static str),
    #[error("the answer is too large")]
    TooLarge,
}

/// The body without the encodings that its headers name, of at most `limit` bytes.
pub(super) fn decoded(mut body: Vec<u8>, headers: &HeaderMap, limit: usize) -> Result<Vec<u8>, Encoded> {
    // In the order in which they were applied.
    let named: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().map(|value| value.as_bytes()).collect();
    let named = String::from_utf8_lossy(&named.join(&b','))
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect::<Vec<_>>();
    for name in named.iter().rev() {
        body = match name.as_str() {
            // Without a body there is nothing to undo.
            _ if body.is_empty() => break,
            "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(body.as_slice()), limit, "gzip")?,
            // Most write what zlib does, some the bare stream within it.
            "deflate" => match bounded(ZlibDecoder::new(body.as_slice()), limit, "deflate") {
                Err(Encoded::Broken(_)) => bounded(DeflateDecoder::new(body.as_slice()), limit, "deflate")?,
                decoded => decoded?,
            },
            _ => return Err(Encoded::Unknown(safe(name))),
        };
    }
    Ok(body)
}

fn bounded(decoder: impl Read, limit: usize, name: &'static str) -> Result<Vec<u8>, Encoded> {
    let mut body = vec![];
    decoder.take(limit as u64 + 1).read_to_end(&mut body).map_err(|_| Encoded::Broken(name))?;
    if body.len() > limit { Err(Encoded::TooLarge) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn decode(body: &[u8], encoding: &str) -> Result<Vec<u8>, Encoded> {
        decoded(body.to_vec(), &HeaderMap::from_iter([(CONTENT_ENCODING, encoding.parse().unwrap())]), 1_000)
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_and_deflate_are_undone_in_the_order_they_were_done() {
        let mut zlib = ZlibEncoder::new(vec![], Compression::default());
        let mut bare = DeflateEncoder::new(vec![], Compression::default());
        zlib.write_all(b"{}").unwrap();
        bare.write_all(b"{}").unwrap();
        let zlib = zlib.finish().unwrap();
        assert_eq!(decode(&gzip(b"{}"), "gzip").unwrap(), b"{}");
        assert_eq!(decode(&zlib, "Deflate").unwrap(), b"{}");
        assert_eq!(decode(&bare.finish().unwrap(), "deflate").unwrap(), b"{}");
        assert_eq!(decode(&gzip(&zlib), "deflate, x-gzip").unwrap(), b"{}");
        assert_eq!(decode(b"{}", "identity").unwrap(), b"{}");
        assert_eq!(decode(b"", "br").unwrap(), b"");
        assert_eq!(decoded(b"{}".to_vec(), &HeaderMap::new(), 1).unwrap(), b"{}");
    }

    #[test]
    fn what_cannot_be_undone_is_named_and_what_grows_too_large_is_not_read() {
        assert_eq!(decode(b"x", "br").unwrap_err().to_string(), "the answer is encoded as br, which was not asked for");
        assert_eq!(decode(b"x", "gzip, zstd").unwrap_err(), Encoded::Unknown("zstd".into()));
        assert_eq!(decode(b"{}", "gzip").unwrap_err(), Encoded::Broken("gzip"));
        assert_eq!(decode(b"{}", "deflate").unwrap_err(), Encoded::Broken("deflate"));
        assert_eq!(decode(&gzip(&[b' '; 1_001]), "gzip").unwrap_err(), Encoded::TooLarge);
        assert_eq!(decode(&gzip(&[b' '; 1_000]), "gzip").unwrap().len(), 1_000);
    }
}
