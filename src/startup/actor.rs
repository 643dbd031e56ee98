//! Who this process is to the audit: what the operating system says, which is no proof. Knows no act.

use std::fs;

use rustix::process::{getpid, getuid};

use crate::model::audit::Actor;

use super::Purpose;

/// Whoever this process acts for.
pub(super) fn of(purpose: Purpose) -> Actor {
    match purpose {
        Purpose::Serve => {
            // Elsewhere than on Linux the process has to be enough.
            let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            Actor::Server(format!("{}/{}", host.trim(), getpid()))
        }
        Purpose::Administer => {
            let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
            // Who logged in, which survives `sudo`; Linux only.
            let login = fs::read_to_string("/proc/self/loginuid").ok();
            let login = login.and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != u32::MAX);
            Actor::Operator(operator(getuid().as_raw(), login, &passwd))
        }
    }
}

/// `alice`, or `root (logged in as alice)`. Not from the environment, in which anybody writes anything.
fn operator(uid: u32, login: Option<u32>, passwd: &str) -> String {
    let name = name_of(uid, passwd);
    match login.filter(|login| *login != uid) {
        Some(login) => format!("{name} (logged in as {})", name_of(login, passwd)),
        None => name,
    }
}

/// The name in the lines of passwd(5), else the number: a directory service's users are in no file.
fn name_of(uid: u32, passwd: &str) -> String {
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| uid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_named_also_behind_sudo_and_numbered_where_the_name_is_not_known() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\n";

        assert_eq!(operator(1000, Some(1000), passwd), "alice");
        assert_eq!(operator(0, Some(1000), passwd), "root (logged in as alice)");
        assert_eq!(operator(0, None, passwd), "root");
        assert_eq!(operator(7, Some(8), passwd), "7 (logged in as 8)");
    }
}
