//! What a storage URL and an endpoint may be. Pure text: nothing is looked up.

use crate::limits;

/// Checks a storage URL: `s3://bucket/prefix`, `file:///folder`, or `memory://name` (for tests: it
/// is gone with the process).
///
/// # Errors
/// A sentence that says what is allowed. It never repeats a URL that may hold credentials.
pub fn check_storage_url(url: &str) -> Result<(), String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(if url.starts_with('/') {
            format!("{url:?} is not a storage URL: write file://{url}")
        } else {
            format!("{url:?} is not a storage URL: write s3://bucket/prefix or file:///folder")
        });
    };
    match scheme {
        "s3" => check_bucket(rest),
        "file" => check_folder(rest),
        "memory" => check_memory(rest),
        "s3a" | "s3n" | "s3p" => Err(format!("the scheme {scheme}:// is not known here: write s3://")),
        _ => Err(format!("the scheme {scheme}:// is not known: use s3://bucket/prefix or file:///folder")),
    }
}

fn check_bucket(rest: &str) -> Result<(), String> {
    if rest.contains('@') {
        return Err("credentials must not stand in a URL: use checkpoint.storageSecretRef, or the \
                    environment for weir run"
            .to_owned());
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let alnum = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = bucket.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    if !(3..=63).contains(&bytes.len())
        || !bytes.iter().all(inner)
        || !alnum(bytes.first())
        || !alnum(bytes.last())
        || bucket.contains("..")
    {
        return Err(format!(
            "{bucket:?} is not the name of a bucket: 3 to 63 characters of a-z, 0-9, '-' and '.', starting and \
             ending with a letter or digit"
        ));
    }
    if prefix.len() > limits::PREFIX {
        return Err(format!("the prefix is too long: at most {} bytes", limits::PREFIX));
    }
    check_segments(prefix, false, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')).map_err(|what| {
        format!(
            "the prefix {prefix:?} {what}: use names of A-Z, a-z, 0-9, '.', '_' and '-' with one '/' between"
        )
    })
}

fn check_folder(rest: &str) -> Result<(), String> {
    let Some(path) = rest.strip_prefix('/') else {
        return Err(format!("{rest:?} is not an absolute folder: write file:///folder, with three slashes"));
    };
    if path.trim_end_matches('/').is_empty() {
        return Err("the root folder can't be the storage: write file:///folder".to_owned());
    }
    check_segments(path, true, |c| !c.is_control())
        .map_err(|what| format!("the folder {:?} {what}: write a plain absolute path", format!("/{path}")))
}

fn check_memory(name: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=63).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    Err(format!("{name:?} is not a name for memory://: 1 to 63 characters of A-Z, a-z, 0-9, '-' and '_'"))
}

/// Checks the names of a path, `hidden` ones with a dot in front by choice; one '/' at its end is allowed.
fn check_segments(path: &str, hidden: bool, allowed: impl Fn(char) -> bool) -> Result<(), String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(());
    }
    for segment in path.split('/') {
        match segment {
            "" => return Err("holds an empty name".to_owned()),
            "." | ".." => return Err(format!("holds {segment:?}")),
            _ => {}
        }
        if segment.starts_with('.') && !hidden {
            return Err(format!("holds {segment:?}, which begins with a dot"));
        }
        if let Some(c) = segment.chars().find(|c| !allowed(*c)) {
            return Err(format!("holds the character {c:?}"));
        }
    }
    Ok(())
}

/// Checks the endpoint of an S3 server: `http(s)://host[:port]`.
pub(crate) fn check_endpoint(url: &str) -> Result<(), String> {
    let allowed = "write http://host:port or https://host:port";
    if url.contains('@') {
        return Err("credentials must not stand in a URL: use checkpoint.storageSecretRef, or the \
                    environment for weir run"
            .to_owned());
    }
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return Err(format!("{url:?} is not an endpoint: {allowed}"));
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(format!("{url:?} holds more than a host and a port: {allowed}"));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').unwrap_or(("", "")),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let host_ok = !host.is_empty()
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'))
        && (authority.starts_with('[') || !host.contains(':'));
    let port_ok = port.is_empty()
        || port.strip_prefix(':').is_some_and(|p| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|p| p > 0)
        });
    if host_ok && port_ok { Ok(()) } else { Err(format!("{url:?} is not an endpoint: {allowed}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_urls_that_are_taken() {
        for url in [
            "s3://bucket",
            "s3://bucket/",
            "s3://my.bucket-1/a/b_c/D.e/",
            "file:///tmp/weir",
            "file:///home/jürgen/meine jobs/.weir",
            "memory://t1",
        ] {
            assert_eq!(check_storage_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn storage_urls_that_are_refused_and_why() {
        for (url, why) in [
            ("/tmp/x", "write file:///tmp/x"),
            ("bucket/x", "write s3://bucket/prefix"),
            ("s3a://bucket/x", "write s3://"),
            ("hdfs://nn/x", "the scheme hdfs:// is not known"),
            ("s3://bu", "not the name of a bucket"),
            ("s3://Bucket", "not the name of a bucket"),
            ("s3://a..b", "not the name of a bucket"),
            ("s3://-ab", "not the name of a bucket"),
            ("s3://bucket/a/../b", "holds \"..\""),
            ("s3://bucket/a//b", "holds an empty name"),
            ("s3://bucket/.a", "begins with a dot"),
            ("s3://bucket/ä", "holds the character 'ä'"),
            ("s3://bucket/a?b=c", "holds the character '?'"),
            ("file://tmp/x", "three slashes"),
            ("file:///", "the root folder"),
            ("file:///a/../../etc", "holds \"..\""),
            ("file:///a\nb", "holds the character '\\n'"),
            ("memory://", "not a name for memory://"),
        ] {
            let message = check_storage_url(url).expect_err(url);
            assert!(message.contains(why), "{url}: {message}");
        }
        let long = format!("s3://bucket/{}", "x".repeat(257));
        assert!(check_storage_url(&long).expect_err("too long").contains("at most 256 bytes"));
    }

    #[test]
    fn f44_a_url_with_credentials_is_refused_without_repeating_them() {
        for message in [
            check_storage_url("s3://AKIA:canary@bucket/x").expect_err("credentials"),
            check_endpoint("https://user:canary@host").expect_err("credentials"),
        ] {
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn endpoints() {
        for url in ["http://127.0.0.1:7070", "https://s3.example.com/", "http://[::1]:9000", "http://host"] {
            assert_eq!(check_endpoint(url), Ok(()), "{url}");
        }
        for url in
            ["host:9000", "ftp://host", "http://", "http://host:0", "http://host:99999", "http://host/x"]
        {
            assert!(check_endpoint(url).is_err(), "{url}");
        }
    }
}
