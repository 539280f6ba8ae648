#[opendo::interface]
pub trait Store<T> {
    fn put(&self, value: T);
}

#[opendo::interface]
pub trait Other {
    fn put<T>(&self, value: T);

    fn close(self);

    fn text(&self, key: &str);

    fn fine(&self, key: String);
}

fn main() {}
