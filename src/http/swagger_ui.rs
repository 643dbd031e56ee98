//! Swagger UI as this server gives it out: its two files, cut out of the archive of the crate that carries it while
//! grantd is compiled, and our own that set it up. Must not know what it shows.
//!
//! A ZIP archive holds its files deflated, with their CRC-32 and size, and that is all that gzip (RFC 1952) wraps around
//! the same bytes. So they are sent as they lie in the archive: nothing is packed or unpacked, neither now nor in the
//! build, and only these two get into the binary.

use std::sync::LazyLock;

use actix_web::http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use actix_web::web::Bytes;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

const JS: Packed = Packed::find(b"/dist/swagger-ui-bundle.js");
const CSS: Packed = Packed::find(b"/dist/swagger-ui.css");
static JS_GZIP: [u8; JS.gzip_length()] = JS.gzip();
static CSS_GZIP: [u8; CSS.gzip_length()] = CSS.gzip();

const SETUP: &str = include_str!("../../templates/docs.js");
const STYLE: &str = include_str!("../../templates/docs.css");

/// A file that never changes under its name.
pub(super) struct Asset {
    /// Its name, which holds a hash of what is in it.
    pub(super) name: String,
    /// What it is.
    pub(super) media_type: &'static str,
    /// Whether the bytes are in the content coding `gzip`.
    pub(super) gzipped: bool,
    /// The bytes.
    pub(super) body: Bytes,
    /// Its entity tag.
    pub(super) etag: HeaderValue,
}

/// The files that the page of the documentation needs.
pub(super) struct Assets {
    /// Swagger UI.
    pub(super) bundle: Asset,
    /// How it looks.
    pub(super) style: Asset,
    /// Starts it.
    pub(super) setup: Asset,
    /// How the rest of the page looks, and what Swagger UI gets wrong.
    pub(super) own_style: Asset,
}

impl Assets {
    /// All of them.
    pub(super) fn all() -> &'static Self {
        static ALL: LazyLock<Assets> = LazyLock::new(|| Assets {
            bundle: Asset::packed("swagger-ui-bundle", "js", JS.crc, &JS_GZIP),
            style: Asset::packed("swagger-ui", "css", CSS.crc, &CSS_GZIP),
            setup: Asset::plain("docs", "js", SETUP),
            own_style: Asset::plain("docs", "css", STYLE),
        });
        &ALL
    }

    /// The one of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Asset> {
        [&self.bundle, &self.style, &self.setup, &self.own_style].into_iter().find(|asset| asset.name == name)
    }
}

impl Asset {
    fn packed(stem: &str, extension: &str, crc: u32, gzip: &'static [u8]) -> Self {
        Self::new(stem, extension, &format!("{crc:08x}"), true, Bytes::from_static(gzip))
    }

    fn plain(stem: &str, extension: &str, text: &'static str) -> Self {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let hash = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..9]);
        Self::new(stem, extension, &hash, false, Bytes::from_static(text.as_bytes()))
    }

    fn new(stem: &str, extension: &str, hash: &str, gzipped: bool, body: Bytes) -> Self {
        let media_type = match extension {
            "js" => "text/javascript; charset=utf-8",
            _ => "text/css; charset=utf-8",
        };
        let etag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("letters between quotes");
        Self { name: format!("{stem}.{hash}.{extension}"), media_type, gzipped, body, etag }
    }
}

/// RFC 9110 §12.5.3: who says nothing takes any coding. Every browser takes gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(ACCEPT_ENCODING).peekable();
    let codings = |line: &HeaderValue| {
        let text = line.to_str().unwrap_or_default().to_ascii_lowercase();
        text.split(',').any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
            matches!(name.trim(), "gzip" | "x-gzip" | "*") && !refused
        })
    };
    lines.peek().is_none() || lines.any(codings)
}

/// A deflated file in the archive (APPNOTE.TXT §4.3.7, §4.3.12, §4.3.16). All of it is done while grantd is compiled: what
/// is not as it should be is an error of the compiler.
#[derive(Clone, Copy)]
struct Packed {
    start: usize,
    length: usize,
    size: u32,
    crc: u32,
}

impl Packed {
    const fn find(name: &[u8]) -> Self {
        let archive = SWAGGER_UI_VENDORED;
        let mut end = archive.len() - 22;
        while number(archive, end, 4) != 0x0605_4b50 {
            end -= 1;
        }
        let mut at = number(archive, end + 16, 4);
        while number(archive, at, 4) == 0x0201_4b50 {
            let name_length = number(archive, at + 28, 2);
            if ends_with(archive, at + 46 + name_length, name, name_length) {
                assert!(number(archive, at + 10, 2) == 8, "the file is not deflated");
                let local = number(archive, at + 42, 4);
                return Self {
                    start: local + 30 + number(archive, local + 26, 2) + number(archive, local + 28, 2),
                    length: number(archive, at + 20, 4),
                    size: number(archive, at + 24, 4) as u32,
                    crc: number(archive, at + 16, 4) as u32,
                };
            }
            at += 46 + name_length + number(archive, at + 30, 2) + number(archive, at + 32, 2);
        }
        panic!("the archive has no such file");
    }

    const fn gzip_length(self) -> usize {
        10 + self.length + 8
    }

    /// RFC 1952 §2.3.
    const fn gzip<const LENGTH: usize>(self) -> [u8; LENGTH] {
        let mut gzip = [0; LENGTH];
        let (head, rest) = gzip.split_at_mut(10);
        head.copy_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        let (deflated, tail) = rest.split_at_mut(self.length);
        deflated.copy_from_slice(SWAGGER_UI_VENDORED.split_at(self.start).1.split_at(self.length).0);
        let (crc, size) = tail.split_at_mut(4);
        crc.copy_from_slice(&self.crc.to_le_bytes());
        size.copy_from_slice(&self.size.to_le_bytes());
        gzip
    }
}

/// A number of the archive, least significant byte first.
const fn number(archive: &[u8], at: usize, bytes: usize) -> usize {
    let (mut number, mut index) = (0, bytes);
    while index > 0 {
        index -= 1;
        number = number << 8 | archive[at + index] as usize;
    }
    number
}

/// Whether the name that ends at `end` is this one below some directory.
const fn ends_with(archive: &[u8], end: usize, name: &[u8], name_length: usize) -> bool {
    if name_length < name.len() {
        return false;
    }
    let mut index = 0;
    while index < name.len() {
        if archive[end - name.len() + index] != name[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn what_is_sent_is_gzip_of_the_files_in_the_archive() {
        for (gzip, packed, begin) in
            [(&JS_GZIP[..], JS, "/*! For license information"), (&CSS_GZIP[..], CSS, ".swagger-ui{")]
        {
            let [deflated @ .., _, _, _, _, _, _, _, _] = &gzip[10..] else { panic!("a trailer") };
            let text = miniz_oxide::inflate::decompress_to_vec(deflated).expect("deflate");

            assert_eq!(&gzip[..3], [0x1f, 0x8b, 8]);
            assert!(text.starts_with(begin.as_bytes()));
            assert_eq!(text.len(), packed.size as usize);
            assert_eq!(crc32fast::hash(&text), packed.crc);
            assert_eq!(gzip[gzip.len() - 8..gzip.len() - 4], packed.crc.to_le_bytes());
            assert_eq!(gzip[gzip.len() - 4..], packed.size.to_le_bytes());
        }
    }

    #[test]
    fn gzip_is_sent_to_all_but_those_who_refuse_it() {
        for (lines, taken) in [
            (&[][..], true),
            (&["gzip, deflate, br, zstd"], true),
            (&["br", "x-GZIP;q=0.5"], true),
            (&["*"], true),
            (&["gzip;q=0.001"], true),
            (&["identity"], false),
            (&[""], false),
            (&["gzip; q=0"], false),
            (&["br;q=1.0, gzip;q=0.000"], false),
        ] {
            let mut request = TestRequest::get();
            for line in lines {
                request = request.append_header((ACCEPT_ENCODING, *line));
            }
            assert_eq!(takes_gzip(request.to_http_request().headers()), taken, "{lines:?}");
        }
    }
}
