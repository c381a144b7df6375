// What the programs for both libraries share: arguments, lines, the end of input. See clients/README.md.
'use strict';

const PARTITIONS = 6;

/** The options after the command: `--first 3` is `{first: '3'}`. */
function options() {
  const found = {};
  for (let i = 3; i + 1 < process.argv.length; i += 2) {
    found[process.argv[i].slice(2)] = process.argv[i + 1];
  }
  return found;
}

/** Prints a line; pipes are written synchronously on Linux. */
function say(line) {
  process.stdout.write(line + '\n');
}

/** Prints all partitions that the member owns from now on. */
function sayAssigned(partitions) {
  say('assigned ' + [...partitions].sort((a, b) => a - b).join(','));
}

/** The records of a `produce` command, at most 500 at a time. */
function* messages({ first, count }) {
  const [from, to] = [Number(first), Number(first) + Number(count)];
  for (let start = from; start < to; start += 500) {
    const batch = [];
    for (let i = start; i < Math.min(start + 500, to); i++) {
      batch.push({ key: String(i), value: String(i), partition: i % PARTITIONS });
    }
    yield batch;
  }
}

/** Resolves when standard input ends or says `stop`. */
function endOfInput() {
  return new Promise(resolve => {
    let text = '';
    process.stdin.on('data', chunk => {
      text += chunk;
      if (text.split('\n').includes('stop')) resolve();
    });
    process.stdin.on('end', resolve);
  });
}

/** Runs the command that was asked for, and ends the process as its result demands. */
function main(commands) {
  const command = commands[process.argv[2]];
  if (!command) throw new Error(`no command ${process.argv[2]}`);
  command(options()).then(
    () => process.exit(0),
    error => {
      console.error(error);
      process.exit(1);
    },
  );
}

module.exports = { say, sayAssigned, messages, endOfInput, main };
