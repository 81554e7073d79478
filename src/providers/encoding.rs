//! Answers that come compressed although nobody asked for it: what stands in between does that at times.

use std::borrow::Cow;
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
pub(super) fn decoded<'b>(body: &'b [u8], headers: &HeaderMap, limit: usize) -> Result<Cow<'b, [u8]>, Encoded> {
    let mut body = Cow::Borrowed(body);
    // In the order in which they were applied.
    let named: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().map(|value| value.as_bytes()).collect();
    let named = String::from_utf8_lossy(&named.join(&b','))
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect::<Vec<_>>();
    for name in named.iter().rev() {
        if is_plain(&body) {
            break;
        }
        let decoded = match name.as_str() {
            "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(&*body), limit, "gzip")?,
            // Most write what zlib does, some the bare stream within it.
            "deflate" => match bounded(ZlibDecoder::new(&*body), limit, "deflate") {
                Err(Encoded::Broken(_)) => bounded(DeflateDecoder::new(&*body), limit, "deflate")?,
                decoded => decoded?,
            },
            _ => return Err(Encoded::Unknown(safe(name))),
        };
        body = Cow::Owned(decoded);
    }
    Ok(body)
}

/// Whether nothing is to be undone, whatever the headers say: there is no body, or it begins as JSON does. Some headers
/// name what is no encoding (`utf-8`), others were left by a proxy that has undone it already.
fn is_plain(body: &[u8]) -> bool {
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    matches!(text.first(), None | Some(b'{' | b'['))
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
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, encoding.parse().unwrap())]);
        decoded(body, &headers, 1_000).map(Cow::into_owned)
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
        assert_eq!(*decoded(b"{}", &HeaderMap::new(), 1).unwrap(), *b"{}");
    }

    #[test]
    fn what_begins_as_json_is_taken_as_it_is_whatever_the_headers_say() {
        for encoding in ["gzip", "deflate", "br", "utf-8", "none", "aws-chunked", "deflate, gzip"] {
            for body in [&b"{\"a\": 1}"[..], b"[1]", b"\xef\xbb\xbf{}", b"\r\n {}", b" "] {
                assert_eq!(decode(body, encoding).unwrap(), body, "{encoding}");
            }
        }
        assert_eq!(decode(&gzip(b"[1]"), "utf-8, gzip").unwrap(), b"[1]");
        assert_eq!(decode(b"<html>", "utf-8").unwrap_err(), Encoded::Unknown("utf-8".into()));
    }

    #[test]
    fn what_cannot_be_undone_is_named_and_what_grows_too_large_is_not_read() {
        assert_eq!(decode(b"x", "br").unwrap_err().to_string(), "the answer is encoded as br, which was not asked for");
        assert_eq!(decode(b"x", "gzip, zstd").unwrap_err(), Encoded::Unknown("zstd".into()));
        assert_eq!(decode(b"x", "gzip").unwrap_err(), Encoded::Broken("gzip"));
        assert_eq!(decode(b"x", "deflate").unwrap_err(), Encoded::Broken("deflate"));
        assert_eq!(decode(&gzip(&[b' '; 1_001]), "gzip").unwrap_err(), Encoded::TooLarge);
        assert_eq!(decode(&gzip(&[b' '; 1_000]), "gzip").unwrap().len(), 1_000);
    }
}
