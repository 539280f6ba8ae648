use opendo::prelude::*;

struct Store;

#[rpc_target]
impl Store {
    pub fn owned(&self, #[call] info: CallInfo) {
        drop(info);
    }

    pub fn exclusive(&self, #[call] info: &mut CallInfo) {
        drop(info);
    }

    pub fn two(&self, #[call] one: &CallInfo, #[call] two: &CallInfo) {
        drop((one, two));
    }

    pub fn again(
        &self,
        #[call]
        #[call]
        one: &CallInfo,
    ) {
        drop(one);
    }

    pub fn options(&self, #[call(x)] info: &CallInfo) {
        drop(info);
    }
}

fn main() {}
