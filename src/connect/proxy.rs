//! The key `proxy`, of accounts and of sinks.

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// A proxy, with its user and password if it wants any. Kept as a secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Proxy(SecretString);

/// What is wrong with a proxy; no word of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not a URL, or of another kind.
    #[error("must be a URL that begins with http:// or https://, such as http://user:password@proxy.example.com:3128")]
    NoUrl,
    /// `#`, `/` and `?` end the part of a URL in which a password stands.
    #[error(
        "has a user or password with a character in it that ends them; write # as %23, / as %2F, ? as %3F, \\ as %5C, \
         @ as %40, : as %3A and % as %25"
    )]
    Unencoded,
    /// The client cannot use it.
    #[error("is not the URL of a proxy")]
    Unusable,
}

impl Proxy {
    /// The address, where it is one.
    pub fn url(&self) -> Result<Url, ProxyError> {
        let text = self.0.expose_secret().trim();
        let url = Url::parse(text);
        // A login that was cut short leaves its rest, and the @ behind it, where no login is.
        let login_cut = |url: &Url| !url.authority().contains('@') || url.path().contains('@');
        let at_sign = text.contains('@');
        match url {
            Ok(url) if !matches!(url.scheme(), "http" | "https") => Err(ProxyError::NoUrl),
            Ok(url) if at_sign && login_cut(&url) => Err(ProxyError::Unencoded),
            Ok(url) => Ok(url),
            Err(_) if at_sign && (text.starts_with("http://") || text.starts_with("https://")) => {
                Err(ProxyError::Unencoded)
            }
            Err(_) => Err(ProxyError::NoUrl),
        }
    }

    /// The proxy for a client.
    pub fn through(&self) -> Result<reqwest::Proxy, ProxyError> {
        // Its own words may repeat the URL, and with it the password.
        reqwest::Proxy::all(self.url()?).map_err(|_| ProxyError::Unusable)
    }

    /// What must not be shown: the password, as it was written and as it is sent.
    pub fn secrets(&self) -> Vec<SecretString> {
        let Ok(url) = self.url() else { return vec![] };
        let Some(password) = url.password() else { return vec![] };
        let sent = percent_encoding::percent_decode_str(password).decode_utf8_lossy().into_owned();
        vec![password.into(), sent.into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Proxy {
        Proxy(text.into())
    }

    #[test]
    fn a_password_that_has_to_be_encoded_is_told_as_that() {
        for password in ["s3cr3t#1", "#s3cr3t", "s3/cr3t", "s3?cr3t", "s3\\cr3t", "1#s3cr3t", "1/s3cr3t"] {
            let url = format!("http://user:{password}@10.0.0.1:3128");
            assert_eq!(proxy(&url).url(), Err(ProxyError::Unencoded), "{url}");
        }
        assert!(ProxyError::Unencoded.to_string().contains("# as %23"));
        let encoded = proxy("http://user:s3%23cr3t@10.0.0.1:3128");
        assert_eq!(encoded.url().unwrap().host_str(), Some("10.0.0.1"));
        let secrets: Vec<_> = encoded.secrets().iter().map(|s| s.expose_secret().to_owned()).collect();
        assert_eq!(secrets, ["s3%23cr3t", "s3#cr3t"]);
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_what_is_one_taken() {
        for wrong in ["socks5://10.0.0.1", "s3cr3t", "10.0.0.1:3128", "", "http://", "ftp://u:p@h"] {
            assert_eq!(proxy(wrong).url(), Err(ProxyError::NoUrl), "{wrong}");
        }
        for right in
            ["http://10.0.0.1:3128", "https://u:p@proxy.example:443/", "http://u@h", "http://[::1]:1", "http://h/x"]
        {
            assert!(proxy(right).through().is_ok(), "{right}");
        }
    }
}
