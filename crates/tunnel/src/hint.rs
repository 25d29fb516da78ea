//! How a program is told to trust the local authority.

use std::path::Path;

/// Text for a person, with the path in it.
pub(crate) fn install_hint(pem: &Path) -> String {
    let pem = quoted(pem);
    format!(
        "\
The tunnels' certificates are signed by a local authority. Its certificate is
  {pem}
It can sign for localhost, names below localhost, 127.0.0.0/8 and ::1, and for nothing else.

One program:
  curl                     curl --cacert {pem} https://…
  Python (ssl, httpx)      export SSL_CERT_FILE={pem}
  Python (requests)        export REQUESTS_CA_BUNDLE={pem}
  Node.js                  export NODE_EXTRA_CA_CERTS={pem}
  Go, Ruby, OpenSSL        export SSL_CERT_FILE={pem}
  git                      export GIT_SSL_CAINFO={pem}
SSL_CERT_FILE and REQUESTS_CA_BUNDLE replace the authorities a program knows. To reach the internet too, give it both:
  cat /etc/ssl/certs/ca-certificates.crt {pem} > bundle.pem

All programs of this machine:
  Debian, Ubuntu, Alpine   sudo cp {pem} /usr/local/share/ca-certificates/computesdk.crt && sudo update-ca-certificates
  Fedora, RHEL             sudo cp {pem} /etc/pki/ca-trust/source/anchors/computesdk.pem && sudo update-ca-trust
  Arch                     sudo trust anchor --store {pem}
  macOS                    sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {pem}

Browsers on Linux:
  Chrome, Chromium         certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n computesdk -i {pem}
  Firefox                  Settings, Privacy & Security, View Certificates, Authorities, Import; or, for a profile:
                           certutil -d sql:PROFILE_FOLDER -A -t C,, -n computesdk -i {pem}
"
    )
}

/// Fit to be pasted into a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@%:,".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_can_be_pasted() {
        let text = install_hint(Path::new("/home/o'neil/my ca/ca.pem"));
        assert!(text.contains(r"curl --cacert '/home/o'\''neil/my ca/ca.pem' https://"), "{text}");
        assert!(install_hint(Path::new("/a/ca.pem")).contains("NODE_EXTRA_CA_CERTS=/a/ca.pem\n"));
    }
}
