use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::out::{Http, HttpError};

/// A hundred ways to name what is not public.
const FORMS: &[&str] = &[
    // Loopback, in every spelling that a URL allows.
    "https://127.0.0.1/",
    "https://127.0.0.1:8443/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.255.255.254/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0x0.0x0.0x1/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://0177.1/",
    "https://017700000001/",
    "https://127.0.0.1./",
    "https://127.0x0.0.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://%31%32%37.0.0.1/",
    "https://１２７.０.０.１/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:ffff:127.0.0.1]/",
    "https://[::127.0.0.1]/",
    "https://[::7f00:1]/",
    // Nowhere and everywhere.
    "https://0/",
    "https://0.0.0.0/",
    "https://0.0.0.0:8443/",
    "https://0x0/",
    "https://0.1.2.3/",
    "https://[::]/",
    "https://[::ffff:0.0.0.0]/",
    "https://255.255.255.255/",
    "https://4294967295/",
    "https://224.0.0.1/",
    "https://239.255.255.250/",
    "https://240.0.0.1/",
    "https://[ff02::1]/",
    "https://[ff0e::1]/",
    // Private networks.
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://10.1/",
    "https://0xa000001/",
    "https://167772161/",
    "https://012.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://172.20.10.1/",
    "https://2886729729/",
    "https://192.168.0.1/",
    "https://192.168.1/",
    "https://192.168.255.255/",
    "https://3232235521/",
    "https://0xc0.0xa8.0.1/",
    "https://0300.0250.0.1/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:192.168.0.1]/",
    "https://[::ffff:c0a8:1]/",
    "https://[fc00::1]/",
    "https://[fd12:3456:789a::1]/",
    "https://[fec0::1]/",
    // Link-local: where clouds keep their secrets.
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.0.1/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[fe80::1]/",
    "https://[fd00:ec2::254]/",
    "https://169.254.170.2/v2/credentials",
    "https://100.100.100.200/latest/meta-data/",
    // Shared, reserved, documentation, benchmarks, relays, translations.
    "https://100.64.0.1/",
    "https://100.127.255.255/",
    "https://192.0.0.1/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://198.18.0.1/",
    "https://198.19.255.255/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://[2001:db8::1]/",
    "https://[2001::1]/",
    "https://[2001:0:7f00:1::]/",
    "https://[2001:10::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a00:1::1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::a00:1]/",
    "https://[100::1]/",
    "https://[3fff::1]/",
    "https://[5f00::1]/",
    // Names of this machine and this network.
    "https://localhost/",
    "https://LOCALHOST./",
    "https://foo.localhost/",
    "https://metadata.google.internal/",
    "https://printer.local/",
    "https://router.lan/",
    "https://kubernetes.default.svc.cluster.local/",
    "https://intranet/",
    "https://postgres:5432/",
    "https://nas.home.arpa/",
    // Not ways to an address at all.
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://127.0.0.1\\@example.com/",
    "https://example.com@127.0.0.1/",
];

#[test]
fn a_hundred_ways_in_are_closed() {
    assert!(FORMS.len() >= 100, "{}", FORMS.len());
    let unique: std::collections::HashSet<_> = FORMS.iter().collect();
    assert_eq!(unique.len(), FORMS.len());
    for form in FORMS {
        if let Ok(url) = Url::parse(form) {
            assert!(Guard::public().check(&url).is_err(), "{form} was let through as {url}");
        }
    }
    let parsed = FORMS.iter().filter(|form| Url::parse(form).is_ok()).count();
    assert!(parsed > 95, "only {parsed} are URLs at all");
    for fine in
        ["https://example.com/hooks", "https://example.com:8443/", "https://1.1.1.1/", "https://[2606:4700::1]/"]
    {
        assert_eq!(Guard::public().check(&Url::parse(fine).unwrap()), Ok(()), "{fine}");
    }
}

/// Answers as a list says, one after the other, then with the last for ever.
struct Scripted(Vec<Vec<&'static str>>, Arc<AtomicUsize>);

impl Names for Scripted {
    fn addresses(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let turn = self.1.fetch_add(1, Ordering::SeqCst);
        let answer = self.0[turn.min(self.0.len() - 1)].iter().map(|a| a.parse().unwrap()).collect();
        async move { Ok(answer) }.boxed()
    }
}

async fn call(names: Vec<Vec<&'static str>>) -> (HttpError, usize) {
    let asked = Arc::new(AtomicUsize::new(0));
    let http = Http::new(Guard::public().with_names(Scripted(names, asked.clone()))).unwrap();
    let url = Url::parse("https://hooks.example.com/in").unwrap();
    let at_most = std::time::Duration::from_millis(300);
    let error = http.post(&url, Vec::new(), "{}".into(), at_most).await.unwrap_err();
    (error, asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_when_it_is_resolved() {
    for inside in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:192.168.1.1", "64:ff9b::1"] {
        let (error, _) = call(vec![vec![inside]]).await;
        assert!(matches!(&error, HttpError::Refused(why) if why.contains("not public")), "{inside}: {error:?}");
        // One among public ones is enough.
        let (error, _) = call(vec![vec!["93.184.215.14", inside]]).await;
        assert!(matches!(error, HttpError::Refused(_)), "{inside}: {error:?}");
    }
}

/// The name is resolved once for each connection, and the connection goes to what was looked at: a second answer is
/// never used. Wherever this runs, no server of this name answers at the public address within the time.
#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let (error, asked) = call(vec![vec!["127.0.0.1"], vec!["93.184.215.14"]]).await;
    assert!(matches!(error, HttpError::Refused(_)), "{error:?}");
    assert_eq!(asked, 1, "it is not asked until it says what is liked");
    let (error, asked) = call(vec![vec!["93.184.215.14"], vec!["127.0.0.1"]]).await;
    assert!(matches!(error, HttpError::Unreachable(_)), "it went to the public one: {error:?}");
    assert_eq!(asked, 1, "and what came later was never asked for");
}
