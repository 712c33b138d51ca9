#![allow(warnings)]
use callfold_lead::*; use callfold_schema::*; use callfold_schema::event::*; use callfold_store::*; use std::time::Instant;
pub async fn bench<S: ReadLeads + WriteLeads>(store: &S, calls: u64) {
    store.claim("w", true).await.unwrap(); store.reset("w", "s").await.unwrap();
    let names = ["shalom","dana","levi","cohen","haifa","leak","water","price","call","back"];
    let mut pos = 0u64; let mut spent = std::time::Duration::ZERO; let mut fold = std::time::Duration::ZERO; let mut n = 0u64;
    let win = 500u64;
    let mut c0 = 0;
    while c0 < calls {
        let mut states: std::collections::HashMap<CallSid, LeadState> = Default::default();
        for kind in 0..4 {
            // batch of `win` events, one a call
            let t = Instant::now();
            let from = pos; let mut changes = vec![];
            for c in c0..c0+win {
                let sid = CallSid::parse(&format!("CA{:032x}", c.wrapping_mul(0x9e3779b97f4a7c15))).unwrap();
                let re = RecordingSid::parse(&format!("RE{:032x}", c)).unwrap();
                let at = UnixMillis(1_700_000_000_000 + c as i64 * 1000 + kind * 100);
                let form: Vec<(String,String)> = (0..20).map(|k| (format!("Field{k}"), format!("value {k}"))).collect();
                let (key, ev): (Key, Event) = match kind {
                    0 => (Key::single(), CallStarted{account_sid:"".into(),from:format!("+97250{:07}", c*7919%10_000_000).as_str().into(),to:"+9723".into(),direction:"inbound".into(),caller:Caller::default(),greeting:"".into(),voice:"".into(),language:"he".into(),record_max_s:1,idempotency_token:None,form}.into()),
                    1 => (Key::recording(re.clone()), RecordingReady{recording_sid:re.clone(),account_sid:"".into(),media_url:"https://x".into(),duration_s:Some(9),channels:Some(1),source:None,started_at:None,idempotency_token:None,form}.into()),
                    2 => (Key::stage(re.clone(), Run(0)), TranscriptReady{text:(0..30).map(|k| if k<3 {names[((c>>k)%10) as usize].to_string()} else {format!("w{}", (c*31+k*977)%20000)}).collect::<Vec<_>>().join(" "),segments:vec![],language:"he".into(),engine:"w".into(),model:"m".into(),failed_engines:vec![],audio_ms:1,elapsed_ms:1}.into()),
                    _ => (Key::stage(re.clone(), Run(0)), SummaryReady{title:"t".into(),points:vec!["a".into(),"b".into()],text:"t a b".into(),engine:"e".into(),model:"".into(),prompt_version:1,failed_engines:vec![],tokens_in:None,tokens_out:None,elapsed_ms:1}.into()),
                };
                let new = NewEvent::new(sid.clone(), key, at, ev);
                pos += 1; n += 1;
                let st = states.entry(sid.clone()).or_insert_with(|| LeadState::new(sid));
                st.apply_record(pos, &Record{envelope:new.envelope,event:new.event}).unwrap();
                changes.push(Change::new(&lead_view(st).unwrap(), st).unwrap());
            }
            fold += t.elapsed();
            let t = Instant::now();
            store.apply("w", &Batch{identity:"s".into(),from,to:pos,changes,unreadable:vec![]}).await.unwrap();
            spent += t.elapsed();
        }
        c0 += win;
    }
    println!("{n} events: fold {:?} ({:.0}/s), apply {:?} ({:.0}/s)", fold, n as f64/fold.as_secs_f64(), spent, n as f64/spent.as_secs_f64());
    let f = |q: Option<&str>, phone: Option<&str>, status: &[Status]| LeadFilter{q:q.map(Into::into),phone:phone.map(Into::into),status:status.to_vec(),..Default::default()};
    for (what, filter) in [("list", f(None,None,&[])),("status rare", f(None,None,&[Status::Failed,Status::NoMessage])),("status all", f(None,None,&[Status::Processed])),("word frequent", f(Some("shalom"),None,&[])),("two frequent", f(Some("shalom dana"),None,&[])),("word rare", f(Some("w123"),None,&[])),("prefix", f(Some("w1"),None,&[])),("none", f(Some("zzz"),None,&[])),("frequent+rare", f(Some("shalom w777"),None,&[])),("number", f(Some("050-7919"),None,&[])),("phone tail", f(None,Some("7919"),&[]))] {
        let mut times = vec![]; let mut len = 0;
        for _ in 0..30 { let t = Instant::now(); len = store.list(&filter, 50, None).await.unwrap().leads.len(); times.push(t.elapsed()); }
        times.sort(); println!("{what:16} {len:3} rows p50 {:?} max {:?}", times[15], times[29]);
    }
    let t = Instant::now(); store.counts().await.unwrap(); println!("counts {:?}", t.elapsed());
}
#[tokio::test(flavor="multi_thread")] async fn b() { let d = tempfile::tempdir().unwrap(); let s = callfold_store_sqlite::SqliteStore::open(&d.path().join("x.db")).await.unwrap(); bench(&s, 100_000).await; println!("db {} MB", std::fs::metadata(d.path().join("x.db")).unwrap().len()>>20); }
