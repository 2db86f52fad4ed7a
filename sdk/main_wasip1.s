// SPDX-License-Identifier: Apache-2.0
// Empty: its presence lets the Go files of this package declare functions whose bodies lie elsewhere.
