// Package report turns the figures of many runs into medians, ratios and
// verdicts, describes the machine they were taken on, and writes both as JSON
// and as Markdown.
//
// It measures one thing itself, the disk's sync latency (probe.go), because
// that belongs to the description of the machine. It runs no servers. Start
// reading at report.go.
package report
