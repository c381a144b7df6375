//! Addresses as the configuration writes them: `host:port`, and Kafka's `NAME://host:port`.

use std::fmt;

/// A listener: Kafka's name for it, and an address. An empty host is every address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// E.g. `PLAINTEXT`.
    pub name: String,
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// 0 takes a free port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, HostPort(&self.host, self.port))
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[derive(Clone, Copy, Debug)]
pub struct HostPort<'a>(pub &'a str, pub u16);

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') {
            write!(f, "[{}]:{}", self.0, self.1)
        } else {
            write!(f, "{}:{}", self.0, self.1)
        }
    }
}

/// Splits `host:port` or `[v6]:port`.
pub fn split_host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let blank = host.chars().any(|c| c.is_whitespace() || c == '/');
    if blank {
        None
    } else {
        Some((host.to_owned(), port.parse().ok()?))
    }
}

/// Reads a list of `NAME://host:port`; a part without a name is `PLAINTEXT`. Names of protocols that do not exist here
/// (`SSL`, `SASL_…`) are refused rather than served in clear text.
pub fn parse_endpoints(text: &str) -> Option<Vec<Endpoint>> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, address) = part.split_once("://").unwrap_or(("PLAINTEXT", part));
        let name = name.to_ascii_uppercase();
        let word = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let served = name != "SSL" && !name.starts_with("SASL");
        if !word || !served || endpoints.iter().any(|other| other.name == name) {
            return None;
        }
        let (host, port) = split_host_port(address)?;
        endpoints.push(Endpoint { name, host, port });
    }
    Some(endpoints)
}
