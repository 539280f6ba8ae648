use opendo::prelude::*;

struct Store;

#[durable_object(nme = "Shop")]
impl Store {
    pub fn text(&self, key: &str, _: u8, (a, b): (u8, u8)) -> &str {
        drop((key, a, b));
        ""
    }

    pub unsafe fn generic<T>(self, value: impl Send) {}

    #[method(idempotant, cancel = 1)]
    pub async fn options(&self) {}
}

fn main() {}
