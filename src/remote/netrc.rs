//! Users and passwords of hosts, in `~/.netrc`.

use crate::redact::Secret;

/// Finds the user and password of a host; a `default` entry is for all hosts.
pub(super) fn find(netrc: &str, host: &str) -> Option<(String, Secret)> {
    let mut words =
        netrc.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    let (mut is_meant, mut user, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" if is_meant => break,
            "machine" => is_meant = words.next() == Some(host),
            "default" => is_meant = true,
            "login" if is_meant => user = words.next().map(str::to_owned),
            "password" if is_meant => password = words.next().map(Secret::new),
            "login" | "password" | "account" => drop(words.next()),
            _ => {}
        }
    }
    Some((user?, password?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_of_the_host_is_taken() {
        let netrc = "# machine c login x password y\nmachine a login me password one\nmachine b\n  login you\n  account z\n  \
                     password two\ndefault login anybody password three\n";
        let found = |host| find(netrc, host).map(|(user, password)| format!("{user} {}", password.expose()));
        assert_eq!(found("a").as_deref(), Some("me one"));
        assert_eq!(found("b").as_deref(), Some("you two"));
        assert_eq!(found("c").as_deref(), Some("anybody three"));
        assert!(find("machine a login me", "a").is_none());
        assert!(find("", "a").is_none());
    }
}
