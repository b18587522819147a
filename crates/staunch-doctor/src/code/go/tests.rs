//! Shapes, each on a mistake, and on what looks like it and is none.

use super::*;
use crate::code::edit::Change;
use crate::code::edit::Edit;

/// The first line that a comment marks: `// birth`, `// wait, cause`.
fn spot(package: &Package, mark: &str) -> Option<Spot> {
    let mut lines = package.files[0].text.lines().zip(1..);
    let marks = |text: &str| text.split_once("// ").is_some_and(|(_, it)| it.contains(mark));
    lines.find(|(text, _)| marks(text)).map(|(_, line)| Spot { file: 0, line })
}

/// What is made of a function `text`, whose comments mark its lines.
fn repaired(rule: &str, text: &str) -> (Package, Option<Repair>) {
    let file = File::parse("main.go", format!("package main\n\n{text}\n")).unwrap();
    assert!(file.is_whole(), "{text}");
    let package = Package { files: vec![file] };
    let (birth, wait) = (spot(&package, "birth"), spot(&package, "wait"));
    let repair = repair(&package, &Suspicion { rule, birth, wait, cause: None });
    (package, repair)
}

/// The cause is where it is marked, and the patch takes away and adds these lines.
#[track_caller]
fn check(rule: &str, text: &str, expected: &[&str]) {
    let (package, repair) = repaired(rule, text);
    let repair = repair.expect("there is a mistake");
    assert_eq!(Some(repair.spot), spot(&package, "cause"), "{repair:?}");
    let changed = changed(&package.files[0], repair.edits);
    assert_eq!(changed, expected, "{}", repair.cause);
}

fn changed(file: &File, edits: Vec<Edit>) -> Vec<String> {
    let Some(change) = Change::new(&file.text, edits) else { return Vec::new() };
    assert!(file.is_whole_with(&change.text()), "{}", change.text());
    let diff = change.diff("main.go");
    let lines = diff.lines().skip(2).filter(|it| it.starts_with(['+', '-']));
    let bare = |it: &str| it.split("//").next().unwrap_or_default().replace('\t', "");
    lines.map(|it| bare(it).trim_end().to_owned()).collect()
}

#[track_caller]
fn check_none(rule: &str, text: &str) {
    assert_eq!(repaired(rule, text).1, None);
}

const NONE: &[&str] = &[];

#[test]
fn what_is_opened_is_closed_behind_the_check_of_its_error() {
    let check = |rest: &str, expected: &[&str]| {
        let head = "func f() error {\n\trows, err := db.Query(q) // birth, cause";
        check("rows-not-closed", &format!("{head}\n{rest}\n}}"), expected);
    };
    let checked =
        "\tif err != nil {\n\t\treturn err\n\t}\n\tif !rows.Next() {\n\t\treturn none\n\t}";
    check(&format!("{checked}\n\treturn rows.Scan(&x)"), &["+defer rows.Close()"]);
    check(
        &format!("{checked}\n\trows.Close()\n\treturn nil"),
        &["+defer rows.Close()", "-rows.Close()"],
    );
    check(&format!("{checked}\n\tx, err = use(rows)\n\treturn err"), &["+defer rows.Close()"]);
    check(&format!("{checked}\n\treturn iterate(rows), nil"), NONE);
    check("\tif err == nil {\n\t\treturn use(rows)\n\t}\n\treturn err", NONE);
    check(&format!("{checked}\n\ts.rows = rows\n\treturn nil"), NONE);
    check("\tif rows.Next() {\n\t\treturn nil\n\t}\n\treturn err", NONE);
}

#[test]
fn what_is_closed_already_or_lent_to_others_is_let_be() {
    let text = |rest: &str| {
        format!(
            "func f() error {{\n\tc, err := net.Dial(a, b) // birth, cause\n\
             \tif err != nil {{\n\t\treturn err\n\t}}\n{rest}\n}}"
        )
    };
    let rule = "connection-not-closed";
    check_none(rule, &text("\tdefer c.Close()\n\treturn nil"));
    check_none(rule, &text("\tdefer func() { c.Close() }()\n\treturn nil"));
    check(rule, &text("\tkeep(c)\n\treturn nil"), NONE);
    check(rule, &text("\tfmt.Fprintln(c, 1)\n\treturn nil"), &["+defer c.Close()"]);
    check(
        rule,
        &text("\tif x {\n\t\treturn nil\n\t}\n\tkeep(c)\n\tc.Close()\n\treturn nil"),
        &["+defer c.Close()", "-c.Close()"],
    );
}

#[test]
fn contexts_are_cancelled_unless_a_goroutine_may_be_meant_to_outlive_the_call() {
    let check = |rest: &str, expected: &[&str]| {
        let head = "func f() {\n\tctx, cancel := context.WithCancel(parent) // birth, cause";
        check("cancel-not-called", &format!("{head}\n{rest}\n}}"), expected);
    };
    check("\tif x {\n\t\treturn\n\t}\n\tcancel()", &["+defer cancel()", "-cancel()"]);
    check(
        "\tif x {\n\t\treturn\n\t}\n\tdefer cancel()\n\twork(ctx)",
        &["+defer cancel()", "-defer cancel()"],
    );
    check("\tgo watch(ctx)", NONE);
    check("\tif x {\n\t\tcancel()\n\t\treturn\n\t}\n\tall = append(all, &T{ctx: ctx})", NONE);
    check("\ts.cancel = cancel", NONE);
}

#[test]
fn a_channel_gets_room_for_what_is_sent_once() {
    let check = |make: &str, rest: &str, expected: &[&str]| {
        let text = format!("func f(list []int) {{\n\tc := {make} // cause\n{rest}\n}}");
        check("chan-send", &text, expected);
    };
    let one =
        "\tgo func() {\n\t\tc <- g() // wait\n\t}()\n\tselect {\n\tcase <-c:\n\tcase <-t:\n\t}";
    check("make(chan int)", one, &["-c := make(chan int)", "+c := make(chan int, 1)"]);
    check("make(chan int, 0)", one, &["-c := make(chan int, 0)", "+c := make(chan int, 1)"]);
    check("make(chan int, 1)", one, NONE);
    let each =
        "\tfor _, it := range list {\n\t\tgo func() {\n\t\t\tc <- it // wait\n\t\t}()\n\t}\n\t<-c";
    check("make(chan int)", each, &["-c := make(chan int)", "+c := make(chan int, len(list))"]);
    let many = "\tgo func() {\n\t\tfor {\n\t\t\tc <- 1 // wait\n\t\t}\n\t}()\n\t<-c";
    check("make(chan int)", many, NONE);
}

#[test]
fn a_function_that_sends_twice_is_told_where_it_should_have_left() {
    let text = "func f() {\n\tc := make(chan int)\n\tgo func() {\n\t\tif x {\n\t\t\tc <- 0 // cause\n\t\t}\n\t\tc <- 1 // wait\n\t}()\n\t<-c\n}";
    check("chan-send", text, NONE);
}

#[test]
fn a_channel_is_closed_by_whoever_sends() {
    let check = |rest: &str, expected: &[&str]| {
        let head = "func f() error {\n\tc := make(chan int, 1) // cause";
        check("chan-receive", &format!("{head}\n{rest}\n}}"), expected);
    };
    let reader = "\tgo func() {\n\t\tfor v := range c { // wait\n\t\t\tuse(v)\n\t\t}\n\t}()\n";
    check(
        &format!("{reader}\tif x {{\n\t\treturn err\n\t}}\n\tc <- 1\n\treturn nil"),
        &["+defer close(c)"],
    );
    check(
        &format!("{reader}\tif x {{\n\t\treturn err\n\t}}\n\tc <- 1\n\tclose(c)\n\treturn nil"),
        &["+defer close(c)", "-close(c)"],
    );
    check(&format!("{reader}\tgo fill(c)\n\tc <- 1\n\treturn nil"), NONE);
    let sender = "\tgo func() {\n\t\tfor i := range n {\n\t\t\tc <- i\n\t\t}\n\t}()\n\tfor range c { // wait\n\t}\n\treturn nil";
    check(sender, &["+defer close(c)"]);
}

#[test]
fn a_lock_is_given_back_by_whoever_leaves_with_it() {
    let check = |rest: &str, expected: &[&str]| {
        let head = "func (a *account) book() int {\n\ta.mu.Lock() // wait, cause";
        check("lock", &format!("{head}\n{rest}\n}}"), expected);
    };
    let early = "\tif x {\n\t\treturn 0\n\t}";
    check(
        &format!("{early}\n\ta.mu.Unlock()\n\treturn 1"),
        &["+defer a.mu.Unlock()", "-a.mu.Unlock()"],
    );
    check(&format!("{early}\n\ta.mu.Unlock()\n\treturn a.sum()"), NONE);
    check(&format!("{early}\n\ta.mu.Unlock()\n\ta.mu.Lock()\n\ta.mu.Unlock()\n\treturn 1"), NONE);
}

#[test]
fn the_function_that_keeps_the_lock_may_be_another_one() {
    let waits = "func (a *account) read() {\n\ta.mu.Lock() // wait\n\tdefer a.mu.Unlock()\n}\n";
    let keeps = "func (b *account) book() {\n\tb.mu.Lock() // cause\n\tif x {\n\t\treturn\n\t}\n\tb.mu.Unlock()\n}";
    check("lock", &format!("{waits}{keeps}"), &["+defer b.mu.Unlock()", "-b.mu.Unlock()"]);
    check_none("lock", &format!("{waits}{}", keeps.replace("account", "other")));
    check_none("lock", waits);
    let helpers = "func (a *account) lock() {\n\ta.mu.Lock() // wait, cause\n}\n";
    check("lock", helpers, &["+defer a.mu.Unlock()"]);
    check_none("lock", &format!("{helpers}func (a *account) unlock() {{\n\ta.mu.Unlock()\n}}"));
}

#[test]
fn a_group_is_told_by_whoever_leaves() {
    let wait = "func f() {\n\twg.Wait() // wait\n}\n";
    let work = "func work() {\n\tif x { // cause\n\t\treturn\n\t}\n\twg.Done()\n}";
    check("wait-group", &format!("{wait}{work}"), &["+defer wg.Done()", "-wg.Done()"]);
    check_none("wait-group", &format!("{wait}func work() {{\n\tdefer wg.Done()\n\treturn\n}}"));
}

#[test]
fn a_loop_over_a_ticker_looks_for_another_end() {
    let text = |parameters: &str, body: &str| {
        format!(
            "func f({parameters}) {{\n\tt := time.NewTicker(d)\n\tfor range t.C {{ // wait, cause\n{body}\n\t}}\n}}"
        )
    };
    check(
        "chan-receive",
        &text("ctx context.Context", "\t\twork()"),
        &[
            "+defer t.Stop()",
            "-for range t.C {",
            "-work()",
            "-}",
            "+for {",
            "+select {",
            "+case <-t.C:",
            "+work()",
            "+case <-ctx.Done():",
            "+return",
            "+}",
            "+}",
        ],
    );
    check("chan-receive", &text("", "\t\twork()"), NONE);
    check("chan-receive", &text("ctx context.Context", "\t\tif x {\n\t\t\tbreak\n\t\t}"), NONE);
}

#[test]
fn what_is_lent_by_a_channel_is_given_back() {
    let text =
        |rest: &str| format!("func (p pool) f() error {{\n\tx := <-p // wait, cause\n{rest}\n}}");
    let early = "\tif y {\n\t\treturn err\n\t}";
    check(
        "chan-receive",
        &text(&format!("{early}\n\tp <- x\n\treturn nil")),
        &["+defer func() { p <- x }()", "-p <- x"],
    );
    check("chan-receive", &text(&format!("{early}\n\tp <- x\n\tmore()\n\treturn nil")), NONE);
    check_none("chan-receive", &text("\tp <- x\n\treturn nil"));
}

#[test]
fn a_server_gets_times_and_the_import_for_them() {
    let head = "import (\n\t\"net/http\"\n)\n\nfunc f() {\n";
    let fields = "ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute";
    check(
        "server-without-timeouts",
        &format!("{head}\ts := &http.Server{{}} // cause\n}}"),
        &["+\"time\"", "-s := &http.Server{}", &format!("+s := &http.Server{{{fields}}}")],
    );
    let several =
        format!("{head}\ts := http.Server{{ // cause\n\t\tReadHeaderTimeout: t,\n\t}}\n}}");
    check(
        "server-without-timeouts",
        &several,
        &["+\"time\"", "+ReadTimeout: time.Minute,", "+IdleTimeout: 2 * time.Minute,"],
    );
    check_none(
        "server-without-timeouts",
        &format!("{head}\ts := http.Server{{ReadTimeout: t}}\n}}"),
    );
}

#[test]
fn a_part_of_a_buffer_is_copied() {
    let text = |result: &str| {
        format!(
            "func f() []byte {{\n\tb := make([]byte, 1<<16) // birth\n\treturn {result} // cause\n}}"
        )
    };
    check(
        "heap-growth",
        &text("b[:n]"),
        &["-return b[:n]", "+return append([]byte(nil), b[:n]...)"],
    );
    check_none("heap-growth", &text("string(b[:n])"));
    check_none("heap-growth", &text("b"));
}

#[test]
fn what_goes_into_a_field_is_closed_by_the_caller() {
    let text = |caller: &str| {
        format!(
            "func dial() (*store, error) {{\n\tconn, err := net.Dial(a, b)\n\tif err != nil {{\n\t\treturn nil, err\n\t}}\n\
             \ts := &store{{conn: conn}}\n\tgo s.read() // birth\n\treturn s, nil\n}}\n\n\
             func count() error {{\n\ts, err := dial() // cause\n\tif err != nil {{\n\t\treturn err\n\t}}\n{caller}\n}}"
        )
    };
    let rule = "connection-not-closed";
    check(rule, &text("\treturn s.ask()"), &["+defer s.conn.Close()"]);
    check_none(rule, &text("\tdefer s.conn.Close()\n\treturn nil"));
    check_none(rule, &text("\tall = append(all, s)\n\treturn nil"));
    let closes = "\n\nfunc (s *store) Close() error { return s.conn.Close() }";
    check(rule, &(text("\treturn s.ask()") + closes), &["+defer s.Close()"]);
}

#[test]
fn a_row_has_nothing_to_close() {
    let text = |call: &str| {
        format!("func f() error {{\n\trow := db.{call} // wait\n\treturn row.Scan(&x)\n}}")
    };
    check_none("rows-not-closed", &text("QueryRow(q)"));
    check_none("rows-not-closed", &text("QueryRow(q).Scan(&x)"));
    check_none("rows-not-closed", &text("Exec(q)"));
}

#[test]
fn who_sends_again_and_again_looks_at_the_context() {
    let text = |head: &str, send: &str| {
        format!("func f({head}) {{\n\tfor v := range list {{\n\t\t{send} // wait, cause\n\t}}\n}}")
    };
    check(
        "chan-send",
        &text("ctx context.Context, c chan int", "c <- v"),
        &["-c <- v", "+select {", "+case c <- v:", "+case <-ctx.Done():", "+return", "+}"],
    );
    check_none("chan-send", &text("c chan int", "c <- v"));
    let results = text("ctx context.Context, c chan int", "c <- v").replace(") {", ") error {");
    check("chan-send", &results, NONE);
}

#[test]
fn a_body_that_is_closed_unread_is_read_first() {
    let text = |close: &str, rest: &str| {
        format!(
            "import (\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc f() error {{\n\
             \tresp, err := h.client.Get(url) // birth\n\tif err != nil {{\n\t\treturn err\n\t}}\n\
             \t{close} // cause\n{rest}\n}}"
        )
    };
    let rule = "body-not-read";
    let read = "+io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))";
    let looked = "\tif resp == nil || resp.StatusCode > 299 {\n\t\treturn bad\n\t}\n\treturn nil";
    let deferred = ["+\"io\"", "-defer resp.Body.Close()", "+defer func() {", read];
    let deferred = [&deferred[..], &["+resp.Body.Close()", "+}()"]].concat();
    check(rule, &text("defer resp.Body.Close()", looked), &deferred);
    let plain = ["+\"io\"", read];
    check(rule, &text("resp.Body.Close()", looked), &plain);
    check(rule, &text("_ = resp.Body.Close()", looked), NONE);
    for rest in [
        "\treturn json.NewDecoder(resp.Body).Decode(&x)",
        "\treturn use(resp)",
        "\treturn resp.Write(w)",
        "\th.last = resp\n\treturn nil",
        "\tresp, err = h.client.Get(other)\n\treturn err",
    ] {
        check_none(rule, &text("defer resp.Body.Close()", rest));
    }
    check_none(rule, &text("log(err)", looked));
    let head = text("defer resp.Body.Close()", looked).replace("client.Get(", "client.Head(");
    check_none(rule, &head);
    let head = "client.Do(request(http.MethodHead, ";
    let head = text("defer resp.Body.Close()", looked).replace("client.Get(url", head);
    check_none(rule, &head.replace("http.MethodHead, )", "http.MethodHead, url))"));
}
