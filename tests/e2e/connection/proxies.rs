//! Proxies: `proxy-url`, `HTTPS_PROXY`, `NO_PROXY`.

use serde_json::{Value, json};

use super::forward_proxy::{Answer, ForwardProxy};
use super::{Connections, changed, same};

/// A name of this machine that Go does not take for `localhost`: it compares that name with its case, and the resolver
/// does not.
const NAME: &str = "LOCALHOST";

/// The outcome that a case has with kubectl, and must have with regcred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Proxy,
    Fails,
}

struct Case {
    what: &'static str,
    cluster: Value,
    environment: Vec<(&'static str, String)>,
    expect: Way,
}

/// Runs both programs; returns the way that each took.
async fn ways(connections: &Connections, proxy: &ForwardProxy, case: &Case) -> [Way; 2] {
    let kubeconfig = changed(connections.kubeconfig(), case.cluster.clone(), same());
    let kubeconfig = connections.write("kubeconfig", &kubeconfig.to_string());
    let environment: Vec<_> = case.environment.iter().map(|(name, value)| (*name, &**value)).collect();
    let way = |code: i32| match (code, proxy.take_targets().is_empty()) {
        (0, true) => Way::Direct,
        (0, false) => Way::Proxy,
        _ => Way::Fails,
    };
    let kubectl = way(connections.kubectl(&kubeconfig, &environment).await.code);
    let regcred = way(connections.regcred(&kubeconfig, &environment).await.code);
    [kubectl, regcred]
}

fn case(what: &'static str, cluster: &Value, environment: &[(&'static str, &str)], expect: Way) -> Case {
    let environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Case { what, cluster: cluster.clone(), environment, expect }
}

#[tokio::test]
async fn proxies_are_used_exactly_where_kubectl_uses_them() {
    let connections = Connections::new("proxies").await;
    let (proxy, strict) = tokio::join!(
        ForwardProxy::start(connections.server(), Answer::Tunnel),
        ForwardProxy::start(connections.server(), Answer::TunnelForRobot),
    );
    let port = connections.server().rsplit(':').next().expect("a port").to_owned();
    let loopback = same();
    let named = json!({"server": format!("https://{NAME}:{port}"), "tls-server-name": "kubernetes"});
    let remote =
        json!({"server": format!("https://api.cluster.invalid:{port}"), "tls-server-name": "kubernetes"});
    let through = |url: &str| json!({"proxy-url": url});
    let url = format!("http://{}", proxy.address);
    let socks = format!("socks5://{}", proxy.address);
    let dead = "http://127.0.0.1:1";
    let p = ("HTTPS_PROXY", &*url);
    let cases = [
        case("no proxy", &named, &[], Way::Direct),
        case("a loopback address needs none", &loopback, &[p], Way::Direct),
        case("a name", &named, &[p], Way::Proxy),
        case("a name that only the proxy resolves", &remote, &[p], Way::Proxy),
        case("without a scheme", &named, &[("HTTPS_PROXY", &proxy.address)], Way::Proxy),
        case("SOCKS5", &named, &[("HTTPS_PROXY", &socks)], Way::Proxy),
        case("lower case", &named, &[("https_proxy", &url), ("HTTPS_PROXY", "")], Way::Proxy),
        case("an empty variable is none", &named, &[("https_proxy", ""), p], Way::Proxy),
        case("HTTP_PROXY is for http:", &named, &[("HTTP_PROXY", dead), ("ALL_PROXY", dead)], Way::Direct),
        case(
            "NO_PROXY lists the server",
            &named,
            &[p, ("NO_PROXY", "a.example.com, localhost")],
            Way::Direct,
        ),
        case("NO_PROXY with its port", &named, &[p, ("NO_PROXY", &format!("localhost:{port}"))], Way::Direct),
        case("NO_PROXY with another port", &named, &[p, ("NO_PROXY", "localhost:1")], Way::Proxy),
        case("NO_PROXY lists the proxy", &named, &[p, ("NO_PROXY", "127.0.0.1,127.0.0.0/8")], Way::Proxy),
        case("NO_PROXY is *", &named, &[p, ("no_proxy", "*")], Way::Direct),
        case("NO_PROXY with empty entries", &named, &[p, ("NO_PROXY", ",10.0.0.0/8,,[::1]")], Way::Proxy),
        case("NO_PROXY lists the domain", &remote, &[p, ("NO_PROXY", ".cluster.invalid")], Way::Fails),
        case("proxy-url for a loopback address", &through(&url), &[], Way::Proxy),
        case("proxy-url before NO_PROXY", &through(&url), &[("NO_PROXY", "*")], Way::Proxy),
        case("proxy-url before HTTPS_PROXY", &through(&url), &[("HTTPS_PROXY", dead)], Way::Proxy),
        case("proxy-url with SOCKS5", &through(&socks), &[], Way::Proxy),
        case("an empty proxy-url is none", &through(""), &[], Way::Direct),
        case("proxy-url needs a scheme", &through(&proxy.address), &[], Way::Fails),
        case("another scheme", &through("ftp://127.0.0.1:1"), &[], Way::Fails),
        case("a proxy that does not listen", &through(dead), &[], Way::Fails),
        case("a dead proxy of the environment", &named, &[("HTTPS_PROXY", dead)], Way::Fails),
    ];
    for case in cases {
        let ways = ways(&connections, &proxy, &case).await;
        assert_eq!(ways, [case.expect; 2], "kubectl, regcred: {}", case.what);
    }
    let robot = format!("http://robot:hunter%3A2@{}", strict.address);
    let cases = [
        case("user and password", &through(&robot), &[], Way::Proxy),
        case("user and password of the environment", &named, &[("HTTPS_PROXY", &robot)], Way::Proxy),
        case("no user", &through(&format!("http://{}", strict.address)), &[], Way::Fails),
    ];
    for case in cases {
        let ways = ways(&connections, &strict, &case).await;
        assert_eq!(ways, [case.expect; 2], "kubectl, regcred: {}", case.what);
    }
}

#[tokio::test]
async fn failing_proxy_is_named_without_its_password() {
    let connections = Connections::new("bad-proxies").await;
    let server = connections.server();
    for (answer, scheme, expect) in [
        (
            Answer::TunnelForRobot,
            "http",
            "the proxy PROXY requires a user and a password (407)\nhint: put them",
        ),
        (
            Answer::Status("502 Bad Gateway"),
            "http",
            "the proxy PROXY refused the request: it does not connect to",
        ),
        (Answer::Status("refused"), "socks5", "the proxy PROXY refused the request: "),
        (Answer::Close, "http", "the proxy PROXY refused the request: it closed the connection\nhint: check"),
        (Answer::Close, "socks5", "the proxy PROXY refused the request: it closed the connection"),
    ] {
        let proxy = ForwardProxy::start(server, answer).await;
        let user = if scheme == "http" { "other:s3cret@" } else { "" };
        check_named(&connections, &format!("{scheme}://{user}{}", proxy.address), expect).await;
        assert!(!proxy.take_targets().is_empty(), "{answer:?}");
    }
    let refused =
        "cannot connect to the proxy PROXY: Connection refused (os error 111)\nhint: check the address";
    check_named(&connections, "http://other:s3cret@127.0.0.1:1", refused).await;
    check_named(&connections, "socks5://127.0.0.1:1", "cannot connect to the proxy PROXY").await;
    // The tunnel leads to a server with another certificate.
    let cluster = json!({"proxy-url": "http://PROXY", "certificate-authority": null});
    let proxy = ForwardProxy::start(server, Answer::Tunnel).await;
    let kubeconfig = changed(connections.kubeconfig(), cluster, same()).to_string();
    let kubeconfig = connections.write("untrusted", &kubeconfig.replace("PROXY", &proxy.address));
    let run = connections.regcred(&kubeconfig, &[]).await;
    assert!(
        run.stderr.contains(&format!("UnknownIssuer (through the proxy http://{})", proxy.address)),
        "{run:?}"
    );
}

#[tokio::test]
async fn failing_proxy_to_a_store_is_named_without_its_password() {
    let mut connections = Connections::new("store-proxies").await;
    let vault = json!({"address": "https://vault.example.com:8200"});
    let aws = json!({"region": "eu-west-1"});
    for (store, what) in [
        (
            json!({"name": "remote", "vault": vault}),
            "the store at https://vault.example.com:8200 is unavailable",
        ),
        (
            json!({"name": "remote", "awsSecretsManager": aws}),
            "AWS Secrets Manager in eu-west-1 is unavailable",
        ),
    ] {
        connections.use_store(&store);
        for (answer, expect) in [
            (Some(Answer::TunnelForRobot), "the proxy PROXY requires a user and a password (407). Put them"),
            (
                Some(Answer::Status("502 Bad Gateway")),
                "the proxy PROXY refused the request: it does not connect to",
            ),
            (Some(Answer::Close), "the proxy PROXY refused the request: it closed the connection. Check"),
            (None, "cannot connect to the proxy PROXY: connection refused. Check the address of the proxy: "),
        ] {
            let proxy = match answer {
                Some(answer) => Some(ForwardProxy::start("127.0.0.1:1", answer).await),
                None => None,
            };
            let address = proxy.as_ref().map_or("127.0.0.1:1", |proxy| &proxy.address);
            let url = format!("http://other:s3cret@{address}");
            let environment = [
                ("HTTPS_PROXY", url.as_str()),
                ("VAULT_TOKEN", "t"),
                ("AWS_ACCESS_KEY_ID", "a"),
                ("AWS_SECRET_ACCESS_KEY", "b"),
                // The endpoint of the world is no real AWS.
                ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
            ];
            let kubeconfig = connections.cluster.kubeconfig.display().to_string();
            let run = connections.regcred(&kubeconfig, &environment).await;
            let expect = format!("{what}: {}", expect.replace("PROXY", &format!("http://{address}")));
            assert!(run.stdout.contains(&expect), "{expect}: {run:?}");
            assert!(!run.stdout.contains("s3cret") && !run.stderr.contains("s3cret"), "{run:?}");
        }
    }
}

/// Checks that the failure of regcred holds a text, with PROXY for the address of the proxy, and not its password.
async fn check_named(connections: &Connections, url: &str, expect: &str) {
    let kubeconfig = changed(connections.kubeconfig(), json!({"proxy-url": url}), same());
    let kubeconfig = connections.write("kubeconfig", &kubeconfig.to_string());
    let run = connections.regcred(&kubeconfig, &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let address = rest.rsplit('@').next().expect("an address");
    assert!(
        run.stderr.contains(&expect.replace("PROXY", &format!("{scheme}://{address}"))),
        "{url}: {run:?}"
    );
    assert!(!run.stderr.contains("s3cret"), "{run:?}");
}
