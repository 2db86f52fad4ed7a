// SPDX-License-Identifier: Apache-2.0

package channeltest

var (
	putCases, takeCases, orderCases, readerCases, cursorCases, fullCases, loadCases, durableCases []scenario

	faultCases = map[string][]scenario{StepPut: {}, StepSync: {}}
)
