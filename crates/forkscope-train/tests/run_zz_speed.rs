use forkscope_train::engine::{Gradients, Parameter};
use forkscope_train::run::{AdamW, AdamWSettings, global_norm};
#[test]
fn speed() {
    let n = 5_500_000;
    let mut p = vec![Parameter {
        name: "p".into(),
        shape: vec![1, n],
        values: vec![0.5; n],
    }];
    let g = Gradients {
        tensors: vec![vec![0.1; n]],
    };
    let mut a = AdamW::new(AdamWSettings::default(), &p).unwrap();
    for _ in 0..10 {
        let t = std::time::Instant::now();
        let x = global_norm(&g);
        let t1 = t.elapsed();
        a.update(&mut p, &g, 1e-3, 1.0).unwrap();
        println!("{x} norm {t1:?} update {:?}", t.elapsed() - t1);
    }
}
