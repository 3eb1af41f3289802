//! Lists the objects of a kind, reduced one by one while the pages arrive.
//!
//! In go a request and a decoder of one object, out come the decoded objects, a few at a time: neither a page
//! nor its objects are ever in memory as a whole. The API pages by the number of objects, so the number
//! follows the bytes of the page before.

mod scanner;

use std::pin::Pin;

use futures::{AsyncBufRead, AsyncBufReadExt};
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;

use self::scanner::{ListScanner, Part};
use super::error::{Error, REQUEST_TIMEOUT, with_timeout};
use super::object::PageMetadata;

/// The number of objects in the first page, of which the size is unknown.
const FIRST_LIMIT: usize = 50;
/// The largest number of objects in a page.
const MAX_LIMIT: usize = 2000;
/// The bytes that a page should have. Each page costs the API server some 10 ms on top of its objects.
const PAGE_BYTES: usize = 4 << 20;

/// The request of a list.
#[derive(Clone, Debug)]
pub(super) struct ListRequest {
    /// The path of the collection.
    pub(super) path: String,
    /// The field selector, if any.
    pub(super) fields: Option<String>,
    /// Only the metadata of the objects is requested.
    pub(super) metadata_only: bool,
}

/// The next part of a list.
pub(super) enum Step<T> {
    /// Objects of the list; there may be none.
    Items(Vec<T>),
    /// The snapshot of the list expired: everything before is void.
    Restarted,
    /// The list is complete, as of this `resourceVersion`.
    Complete(String),
}

/// The decoder of one object.
type Decode<T> = fn(&[u8]) -> serde_json::Result<T>;

/// A list in progress.
pub(super) struct List<T> {
    client: Client,
    request: ListRequest,
    decode: Decode<T>,
    limit: usize,
    continue_token: Option<String>,
    page: Option<Page>,
}

/// A page in progress.
struct Page {
    body: Pin<Box<dyn AsyncBufRead + Send>>,
    scanner: ListScanner,
    metadata: PageMetadata,
    bytes: usize,
    items: usize,
}

impl<T> List<T> {
    pub(super) fn new(client: Client, request: ListRequest, decode: Decode<T>) -> Self {
        Self { client, request, decode, limit: FIRST_LIMIT, continue_token: None, page: None }
    }

    /// Begins with the limit of an earlier list of the same objects.
    pub(super) fn with_limit(self, limit: Option<usize>) -> Self {
        Self { limit: limit.unwrap_or(FIRST_LIMIT), ..self }
    }

    /// Returns the limit of the next page.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Reads on.
    pub(super) async fn next(&mut self) -> Result<Step<T>, Error> {
        let page = match &mut self.page {
            Some(page) => page,
            None => match self.open_page().await {
                // The continue token has expired with its snapshot: start over.
                Err(Error::Expired) if self.continue_token.take().is_some() => return Ok(Step::Restarted),
                page => self.page.insert(page?),
            },
        };
        if let Some(items) = page.read(self.decode).await? {
            return Ok(Step::Items(items));
        }
        self.limit = next_limit(page.items, page.bytes);
        let PageMetadata { continue_token, resource_version } = std::mem::take(&mut page.metadata);
        self.page = None;
        if continue_token.is_empty() {
            return Ok(Step::Complete(resource_version));
        }
        self.continue_token = Some(continue_token);
        Ok(Step::Items(Vec::new()))
    }

    /// Reads to the end, and collects every object.
    pub(super) async fn collect(mut self) -> Result<Vec<T>, Error> {
        let mut listed = Vec::new();
        loop {
            match self.next().await? {
                Step::Items(items) => listed.extend(items),
                Step::Restarted => listed.clear(),
                Step::Complete(_) => return Ok(listed),
            }
        }
    }

    async fn open_page(&mut self) -> Result<Page, Error> {
        let limit = u32::try_from(self.limit).unwrap_or(u32::MAX);
        let params = ListParams {
            field_selector: self.request.fields.clone(),
            continue_token: self.continue_token.clone(),
            ..ListParams::default().limit(limit)
        };
        let endpoint = Request::new(&self.request.path);
        let request =
            if self.request.metadata_only { endpoint.list_metadata(&params) } else { endpoint.list(&params) };
        let request = request.map_err(kube::Error::BuildRequest);
        let body = with_timeout(async { self.client.request_stream(request?).await }).await?;
        let (scanner, metadata) = (ListScanner::default(), PageMetadata::default());
        Ok(Page { body: Box::pin(body), scanner, metadata, bytes: 0, items: 0 })
    }
}

impl Page {
    /// Reads the next chunk, and decodes the objects that it completes; `None` at the end of the page.
    async fn read<T>(&mut self, decode: Decode<T>) -> Result<Option<Vec<T>>, Error> {
        let chunk = match tokio::time::timeout(REQUEST_TIMEOUT, self.body.fill_buf()).await {
            Ok(chunk) => chunk.map_err(|error| Error::unavailable(&error))?,
            Err(_) => return Err(Error::TimedOut),
        };
        if chunk.is_empty() {
            let is_complete = self.scanner.is_complete();
            return is_complete
                .then_some(None)
                .ok_or_else(|| Error::Unavailable("a list was cut off".into()));
        }
        let mut items = Vec::new();
        let metadata = &mut self.metadata;
        let scanned = self.scanner.push(chunk, |part| {
            match part {
                Part::Metadata(value) => *metadata = serde_json::from_slice(value)?,
                Part::Item(value) => items.push(decode(value)?),
            }
            Ok::<_, serde_json::Error>(())
        });
        scanned.map_err(|error| Error::unavailable(&error))?;
        let length = chunk.len();
        self.body.as_mut().consume(length);
        self.bytes += length;
        self.items += items.len();
        Ok(Some(items))
    }
}

/// Returns the limit of the next page, after a page with these objects and bytes.
fn next_limit(items: usize, bytes: usize) -> usize {
    let bytes_per_item = (bytes / items.max(1)).max(1);
    (PAGE_BYTES / bytes_per_item).clamp(1, MAX_LIMIT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::{exchange, play, refused};
    use super::*;
    use crate::cluster::error::ErrorReason;

    const FIRST: &str = "GET /api/v1/namespaces?&limit=50";
    const SECOND: &str = "GET /api/v1/namespaces?&limit=2000&continue=token";

    fn page(names: &[&str], next: &str) -> Value {
        let items: Vec<_> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
        json!({"kind": "NamespaceList", "metadata": {"continue": next, "resourceVersion": "7"}, "items": items})
    }

    async fn names(client: Client) -> Result<Vec<String>, Error> {
        let request = ListRequest { path: "/api/v1/namespaces".into(), fields: None, metadata_only: false };
        let decode = |item: &[u8]| {
            let item: Value = serde_json::from_slice(item)?;
            Ok(item["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        };
        List::new(client, request, decode).collect().await
    }

    #[tokio::test]
    async fn list_is_read_page_by_page() {
        let script =
            vec![exchange(FIRST, 200, page(&["a", "b"], "token")), exchange(SECOND, 200, page(&["c"], ""))];
        assert_eq!(play(script, names).await.0.expect("a list"), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn expired_list_starts_over_without_duplicates() {
        let script = vec![
            exchange(FIRST, 200, page(&["a", "b"], "token")),
            refused(SECOND, 410, "Expired"),
            exchange("GET /api/v1/namespaces?&limit=2000", 200, page(&["a", "b", "c"], "")),
        ];
        assert_eq!(play(script, names).await.0.expect("a list"), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn refused_list_is_the_error_of_the_api_server() {
        let (listed, _) = play(vec![refused(FIRST, 403, "Forbidden")], names).await;
        assert_eq!(listed.map_err(|error| error.reason()), Err(ErrorReason::Forbidden));
    }

    #[test]
    fn limit_follows_the_bytes_of_the_page_before() {
        assert_eq!(next_limit(50, 50 << 20), 4);
        assert_eq!(next_limit(4, 4 << 10), MAX_LIMIT);
        assert_eq!(next_limit(1, 9 << 20), 1);
        assert_eq!(next_limit(0, 100), MAX_LIMIT);
    }
}
