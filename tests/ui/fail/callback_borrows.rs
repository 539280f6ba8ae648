use opendo::Callback;

fn borrowed_result() {
    let mut count = 0;
    let _: Callback<u64, ()> = Callback::new(async |value: u64| count += value);
}

fn not_async() {
    let _: Callback<u64, u64> = Callback::new(|value: u64| value);
}

fn two_arguments() {
    let _: Callback<(u64, u64), u64> = Callback::new(async |a: u64, b: u64| a + b);
}

fn main() {
    let _ = (borrowed_result, not_async, two_arguments);
}
