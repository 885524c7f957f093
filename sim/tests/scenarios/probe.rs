use burdock_sim::*;
#[test]
fn probe() {
    let range = std::env::var("SEEDS").unwrap();
    let (a, b) = range.split_once('-').unwrap();
    let kind = std::env::var("KIND").unwrap_or_default();
    let mut table = Table::default();
    let mut bad = 0;
    for seed in a.parse::<u64>().unwrap()..b.parse().unwrap() {
        let scenario = if kind == "all" { Scenario::generate(seed) } else { Scenario::routers(seed) };
        if let Ok(path) = std::env::var("SAVE") {
            std::fs::write(path, scenario.to_text()).unwrap();
        }
        let full = std::env::var("FULL").is_ok();
        let report = run(&scenario, &Options { trace: if full { Detail::Full } else { Detail::Short } });
        table.merge(&report.table);
        if full {
            for line in &report.log {
                eprintln!("{line}");
            }
        }
        if let Some(failure) = &report.failure {
            bad += 1;
            eprintln!("seed {seed}: {failure}");
            if std::env::var("SHOW").is_ok() {
                eprintln!("{report}");
            }
        }
    }
    eprintln!("{bad} bad");
    if std::env::var("TABLE").is_ok() {
        eprintln!("{table}");
    }
}
