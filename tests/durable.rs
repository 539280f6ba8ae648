//! What is kept, what leaves before it is, and what happens when it cannot be.
//!
//! Numbers are those of the checklist of what Durable Objects do; what is different, or not there, is in
//! `opendo/src/docs/differences.md`. The items without which nothing could be called the same, and where they are shown
//! (`suite/` is short for `suite/behaviour/`):
//!
//! | items | | tests |
//! | --- | --- | --- |
//! | 1.2, 1.3, 1.7, 1.11 | ids | `suite/identity`; the vectors of 1.2b in `opendo/src/object/id.rs` |
//! | 2.1 | order | `suite/ordering`: `calls_start_in_the_order_made_awaited_or_not` |
//! | 2.4 | one instance | `suite/lifecycle`: `a_thousand_racing_first_calls_share_one_construction` |
//! | 2.5 | an error is no reset | `lifecycle`: `an_error_resets_nothing`; `suite/errors` |
//! | 2.6, 2.7 | a reset fails all, a fresh stub works | `lifecycle`: `an_abort_takes_the_running_and_the_waiting_calls_along` |
//! | 2.17 | the caller is gone | `lifecycle`: `a_call_whose_caller_is_gone_keeps_what_it_wrote`; `suite/cancellation` |
//! | 3.6, 3.7 | a constructor that fails, or takes too long | `lifecycle`: `a_constructor_that_fails_leaves_nothing_behind` |
//! | 3.11, 3.12 | what keeps it in memory | `idle`; `alarms`: `an_alarm_wakes_a_sleeping_object_once_and_not_too_early` |
//! | 3.20 | an abort loses what was not committed | `gates`: `what_was_said_before_an_abort_leaves_and_…` |
//! | 4.5, 4.6, 4.7 | turns | `turns` |
//! | 4.12 | a failed commit | `gates`: `nothing_leaves_that_waited_for_a_commit_that_failed` |
//! | 4.13 | the death of the process | `simulation`; `gates`: `what_was_answered_survives_a_crash_and_…`; `tests/crash.rs` |
//! | 4.16 to 4.18 | cycles | `suite/cycles`; `turns`: `a_constructor_may_be_called_back_while_calls_wait_for_it` |
//! | 5.2 | byte order | `storage`: `many_keys_are_read_at_once_in_byte_order`; `list` |
//! | 5.12, 5.15 | one batch, no rollback by an error | `storage`: `the_writes_of_one_call_are_one_commit`; `gates`: `an_error_waits_too_and_…` |
//! | 5.16 to 5.24 | transactions | `transactions`; those of SQL in `tests/sql.rs` |
//! | 5.29 | `delete_all` | `storage`: `delete_all_leaves_nothing_behind_in_one_step`; `transactions` |
//! | 7.5, 7.19, 7.23 | alarms | `alarms` |
//! | 7.10, 7.12, 7.13 | … that fail | `retries` |
//! | 8.7, 8.10, 8.14, 8.15, 8.20 | sockets | `tests/sockets/{messages,ends}.rs` |
//! | 9.1, 9.10, 9.13 | calls | `tests/ui`, `suite/faults/limits`, `suite/promises` |
//! | 9.17 to 9.22 | what holds stubs | `suite/capabilities`, `suite/targets` |

#[path = "suite/behaviour/by_name.rs"]
mod by_name;
#[macro_use]
#[path = "durable/world.rs"]
mod world;

#[path = "durable/alarms.rs"]
mod alarms;
#[path = "durable/desk.rs"]
mod desk;

#[path = "durable/gates.rs"]
mod gates;
#[path = "durable/idle.rs"]
mod idle;
#[path = "durable/keeper.rs"]
mod keeper;
#[path = "durable/lasting.rs"]
mod lasting;
#[path = "durable/lifecycle.rs"]
mod lifecycle;
#[path = "durable/list.rs"]
mod list;
#[path = "durable/retries.rs"]
mod retries;
#[path = "durable/rings.rs"]
mod rings;
#[path = "durable/schedules.rs"]
mod schedules;
#[path = "durable/simulation.rs"]
mod simulation;
#[path = "durable/storage.rs"]
mod storage;
#[path = "durable/transactions.rs"]
mod transactions;
#[path = "durable/turns.rs"]
mod turns;
