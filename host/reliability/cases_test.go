// SPDX-License-Identifier: Apache-2.0

package reliability

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// behaviours are what a durable channel, and what runs around it, must show, and the tests that show each: "folder: name", where the name is that of a test, or of a
// case in a table, or a line of a script.
var behaviours = []struct {
	id, what string
	shown    []string
}{
	{"A1", "a transaction of 100 is put and taken: all, in order, same bytes and attributes", []string{
		"host/channel/channeltest: a committed transaction of 100 comes out whole, in order, with its bytes and attributes"}},
	{"A2", "put and rolled back: nothing is seen, its room is given back", []string{
		"host/channel/channeltest: a rolled-back transaction is not seen and takes no room"}},
	{"A3", "taken and rolled back: the same events in the same order, as attempt 2", []string{
		"host/channel/channeltest: taken and rolled back, the same events come again in the same order, as attempt 2 and 3"}},
	{"A4", "full: one more put waits, or is refused as full; after a take it succeeds", []string{
		"host/channel/channeltest: a full channel lets nobody begin until a take is committed",
		"host/channel/channeltest: a full channel refuses where that is its policy",
		"host/channel/channeltest: Begin on a full channel ends with its context"}},
	{"A5", "committed, then kill -9 at once: every committed event is there, a transaction that was not answered wholly or not at all", []string{
		"host/channel/wal/crash: TestKilledAtAnyWordItHoldsWhatItAcknowledged",
		"cmd/penstock/crash: TestKillNineLosesAndRepeatsNothing"}},
	{"A6", "taken and not committed, then kill -9: it comes again, and with a transactional sink without a second effect", []string{
		"cmd/penstock/crash: TestTakenAndNotCommittedItHasNoSecondEffect",
		"host/channel/channeltest: what was leased and not committed comes again"}},
	{"A7", "ten producers and ten takers: no loss, nothing twice", []string{
		"host/channel/channeltest: 10 producers and 10 competing takers lose and repeat nothing"}},
	{"A8", "commit twice, rollback after commit, put after commit: an error, and no change", []string{
		"host/channel/channeltest: put after submit, submit after submit and submit after rollback change nothing and say so",
		"host/channel/channeltest: commit after commit and commit after rollback change nothing and say so"}},
	{"A9", "a second agent on the same data is refused and told who has it; the first is unharmed", []string{
		"cmd/penstock/testdata/script: A second agent on the same data directory is refused with the pid of the first, which is unharmed."}},
	{"A10", "each file beside the log is deleted, cut, emptied, changed: exactly the committed set, or a refusal with the file and the command that mends it", []string{
		"cmd/penstock/crash: TestAnyFileOfAChannelMayBeHarmed",
		"host/channel/wal: TestAnyFileButTheLogMayBeLost"}},
	{"A11", "one byte changed in a log: the others come out and the loss is reported, or the reader stops and says where", []string{
		"host/channel/wal: TestUnderStopTheReaderThatGetsThereStopsAndSaysWhere",
		"host/channel/wal: TestUnderQuarantineEveryReaderPassesOverAndTheLossIsCountedOnce",
		"host/channel/wal: TestInQuarantineAnyFlippedByteCostsItsRecordAlone",
		"host/pipeline: TestADamagedLogHoldsTheSink",
		"cmd/penstock/testdata/script: With on_corrupt = \"quarantine\" an agent does as repair does, and goes on."}},
	{"A12", "disk full during puts: they wait or are refused, takes go on, it recovers by itself", []string{
		"host/channel/wal/crash: TestAFullDiskRefusesDrainsAndRecovers",
		"cmd/penstock/crash: TestKillNobodyWhenTheDiskFillsInTheMiddleOfAStream"}},
	{"A13", "twenty committers at once: far fewer flushes than commits", []string{
		"host/channel/wal: TestTwentyCommittersShareFlushes"}},
	{"A14", "encryption turned on over a plain log, a wrong key, a missing key, other keys, turned off: all is read, or clearly refused", []string{
		"cmd/penstock/testdata/script: Turned on: nothing of what is new can be read, names and cursors included.",
		"cmd/penstock/testdata/script: A wrong key and none are refused, with what is missing and what to do; nothing is changed.",
		"cmd/penstock/testdata/script: Turned off again: the sink that was away gets every line, once and in order.",
		"host/channel/wal: TestKeysAreTurnedOnChangedAndTurnedOff"}},
	{"A23", "requests by HTTP: channel full, malformed, huge, client gone, agent killed: 503 with Retry-After, 400, 413; stored and answered, or neither; with a key, once", []string{
		"cmd/penstock/crash: TestKilledUnderRequestsWhatWasAnsweredIsThereAndOnceWithItsKey",
		"cmd/penstock/testdata/script: An HTTP client is told 200 when all of its request is on disk, and anything else when nothing of it is.",
		"cmd/penstock/testdata/script: While the channel is full, because the sink cannot write, requests are refused, and never stored.",
		"host/pipeline: TestWhoeverWaitsForAnAnswerIsRefusedWhenThereIsNoRoom",
		"host/plugin/wasm: TestAnAnswerGoesOutAfterTheCommitAndWithoutTheGuest"}},
	{"A28", "a guest that loops, recurses, grows its memory and tables, emits too much and nonsense, floods the log, calls what it was not granted, opens handles without an end: ended in its budget, told why, the others keep their speed; clients that say nothing hold up nobody", []string{
		"host/plugin/wasm: TestAHostileGuestIsEndedAndOthersKeepTheirSpeed",
		"host/plugin/wasm: TestAGuestThatDoesNotComeBackIsEndedInItsBudget",
		"host/plugin/wasm: TestEndlessRecursionIsEndedWhereItIsTooDeep",
		"host/plugin/wasm: TestAGuestThatWantsTooMuchMemoryIsToldNoAndTheErrorNamesTheLimit",
		"host/plugin/wasm: TestATableGrowsToItsLimitAndNoFurther",
		"host/plugin/wasm: TestEveryRefusalIsCountedUnderItsName",
		"host/plugin/wasm: TestAFloodOfLogsIsCountedAndItsLimitIsNamed",
		"host/plugin/wasm: TestAModuleMayImportWhatIsNotGrantedAndIsToldSo",
		"host/plugin/socket: TestHandlesAreBoundedAndFreed",
		"host/plugin/endpoint: TestConnectionsAreBounded",
		"host/plugin/endpoint: TestAHandshakeThatDoesNotEndHoldsUpNobody",
		"host/plugin/endpoint: TestASlowClientIsCutOff"}},
	{"A30", "a source moved to another channel goes on where it was; a channel restored from a backup: no offset is used twice, a destination that is ahead says so, nothing is lost", []string{
		"cmd/penstock/crash: TestAChannelRestoredFromABackupIsToldApartAndLosesNothing",
		"cmd/penstock/testdata/script: A source goes on where it was when it fills another channel, and each line is in one output, once.",
		"cmd/penstock/testdata/script: kill -9 before its cursor is in the new channel, and before it is removed from the old.",
		"host/channel/channeltest: each opening has its own incarnation, which begins at a new multiple of 2^32",
		"host/channel/channeltest: offsets grow and are never used twice"}},
	{"A31", "full disk, kill -9, start: it starts, drains to the end, then accepts again", []string{
		"cmd/penstock/crash: TestKilledOnAFullDiskItDrainsAndThenAccepts"}},
	{"A32", "a guest with a directory that it may write makes links that lead out of it: refused", []string{
		"host/plugin/wasm: TestAGuestDoesNotGetOutOfItsDirectories",
		"host/plugin/wasm: TestALinkIntoAnotherGrantIsFollowed",
		"host/plugin/wasm: TestAGrantInAGrantHasItsOwnRights"}},
	{"", "a transactional sink with four connections, rejects in every batch and kills at random: every good event once, every rejected one once in the dead letters", []string{
		"cmd/penstock/crash: TestOfManyRejectsEachEventIsInTheTableOrAmongTheDeadLetters"}},
	{"", "a poison event in the middle of a million: found, kept with its reason, replayed after the sink is mended; the other readers of the channel see it once", []string{
		"cmd/penstock/crash: TestAPoisonEventIsFoundKeptAndReplayedAfterTheSinkIsMended"}},
	{"", "a chain of three agents into a database, while agents, plugins, links and the database are killed, stopped, cut off and slow, and networks lose packets: each event once, and the figures of each agent add up", []string{
		"cmd/penstock/crash: TestAChainOfAgentsHoldsEveryEventOnce",
		"cmd/penstock/crash: TestAChainOfAgentsOnNetworksThatLosePackets"}},
	{"", "certificates and authorities of two agents are replaced under load, while their link is cut in the middle of handshakes: each event once, nobody refused, the old certificate is; files that are cut off leave in use what they said before", []string{
		"cmd/penstock/crash: TestCertificatesAndAuthoritiesReplacedUnderLoad",
		"host/hop/link: TestCertificatesReplacedUnderLoadRefuseNobody",
		"host/plugin/endpoint: TestFilesThatCannotBeUsedLeaveTheOldOnesInUseAndAreToldOnce"}},
	{"", "many agents over two collectors into one table, by the origin of events: each once, over as many connections as the collectors may have", []string{
		"cmd/penstock/crash: TestTiersBoundTheConnectionsToADatabase"}},
	{"", "a flush fails: the channel stops, readiness says why, nothing of that group is acknowledged, a restart delivers the committed set", []string{
		"cmd/penstock/crash: TestAFlushThatFailsStopsTheChannelTurnsReadinessRedAndLosesNothing",
		"host/channel/wal: TestAfterAFailedFlushNothingIsTrusted"}},
	{"", "5 GB wait, eight readers catch up, one source puts: at most 128 MiB; after kill -9 it is open within a second", []string{
		"host/channel/wal/crash: TestALargeBacklogTakesLittleMemoryAndOpensAtOnce"}},
}

// split returns the folder and the name of a test.
func split(test string) (folder, name string) {
	folder, name, _ = strings.Cut(test, ": ")
	return folder, name
}

func printCases(w io.Writer) {
	rows := [][]string{{"", "behaviour", "shown by"}}
	for _, b := range behaviours {
		for i, test := range b.shown {
			folder, name := split(test)
			id, what := b.id, b.what
			if i > 0 {
				id, what = "", ""
			}
			rows = append(rows, []string{id, what, "`" + folder + "`: " + name})
		}
	}
	printTable(w, rows)
}

func TestEveryTestThatIsNamedIsThere(t *testing.T) {
	for _, b := range behaviours {
		for _, test := range b.shown {
			folder, name := split(test)
			if !found(t, folder, name) {
				t.Errorf("%s: there is no %q in %s", b.what, name, folder)
			}
		}
	}
}

// found looks for a test function, a case of a table or a comment in a script.
func found(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", folder, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no files: %v", folder, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a folder
		}
		for _, form := range []string{"func " + name + "(t ", `{"` + name + `", `, "# " + name + "\n"} {
			if strings.Contains(string(text), form) {
				return true
			}
		}
	}
	return false
}
