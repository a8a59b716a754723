//! `casemate:agent/run`: what an agent knows of its run, and what it says to those who watch.

use casemate_host_bindings::agent::run::{self, ContextFile, RunBudget, RunContext};
use casemate_host_bindings::agent::types::Error;

use super::{Host, HostLimit};
use crate::limits::{LimitExceeded, LimitKind};

impl run::Host for Host {
    async fn context(&mut self) -> wasmtime::Result<RunContext> {
        self.serving();
        let Some(setting) = self.scope.setting() else { return Ok(nothing()) };
        let history = setting.history.iter().cloned().map(Into::into).collect();
        let files = setting.files.iter().map(|file| ContextFile { path: file.path.clone(), text: file.text.clone() });
        let context = RunContext {
            id: setting.run.to_string(),
            agent: setting.agent.clone(),
            system_prompt: setting.system_prompt.clone(),
            model: setting.model.clone(),
            files: files.collect(),
            history,
            budget: RunBudget { turns: setting.turns, tokens: setting.tokens, cost: setting.cost },
        };
        self.charge(setting_len(&context));
        Ok(context)
    }

    async fn thinking(&mut self, text: String) -> wasmtime::Result<()> {
        self.say(&text)?;
        self.handover.run(self.scope.think(text)).await;
        Ok(())
    }

    async fn output(&mut self, text: String) -> wasmtime::Result<()> {
        self.say(&text)?;
        self.handover.run(self.scope.put_out(text)).await;
        Ok(())
    }

    async fn ask(&mut self, question: String) -> wasmtime::Result<Result<String, Error>> {
        self.say(&question)?;
        let answer = match self.handover.run(self.scope.ask_for_input(question)).await {
            Some(Ok(input)) => Ok(input),
            Some(Err(outcome)) => Err(super::tools::error_of(&outcome)),
            None => Err(Error::Cancelled),
        };
        Ok(answer)
    }
}

impl Host {
    /// Bounds what an agent says, as what it prints is bounded; each word of it costs a little more than itself.
    fn say(&mut self, text: &str) -> wasmtime::Result<()> {
        const EACH: u64 = 64;
        self.serving();
        self.charge(text.len());
        self.said = self.said.saturating_add(EACH).saturating_add(text.len() as u64);
        if self.said > self.output_limit {
            return Err(HostLimit(LimitExceeded::new(LimitKind::Output, self.said, self.output_limit)).into());
        }
        Ok(())
    }
}

/// What there is to know where there is no run.
fn nothing() -> RunContext {
    RunContext {
        id: String::new(),
        agent: String::new(),
        system_prompt: None,
        model: None,
        files: Vec::new(),
        history: Vec::new(),
        budget: RunBudget { turns: None, tokens: None, cost: None },
    }
}

fn setting_len(context: &RunContext) -> usize {
    const EACH_MESSAGE: usize = 1_000;
    let files = context.files.iter().map(|file| file.text.len()).sum::<usize>();
    files.saturating_add(context.history.len().saturating_mul(EACH_MESSAGE))
}
