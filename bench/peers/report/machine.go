package report

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine describes what the figures were measured on.
type Machine struct {
	CPU         string      `json:"cpu"`
	Cores       int         `json:"cores"`
	Kernel      string      `json:"kernel"`
	MemoryBytes int64       `json:"memory_bytes"`
	Disk        string      `json:"disk"`
	Filesystem  string      `json:"filesystem"`
	Go          string      `json:"go"`
	LoadBefore  float64     `json:"load_before"` // of the last minute; what else ran
	Sync        SyncLatency `json:"fdatasync"`
}

func (m Machine) rows() []Setting {
	return []Setting{
		{"processor", fmt.Sprintf("%s, %d cores", m.CPU, m.Cores)},
		{"kernel", m.Kernel},
		{"memory", fmt.Sprintf("%.1f GiB", float64(m.MemoryBytes)/(1<<30))},
		{"disk", m.Disk},
		{"file system", m.Filesystem},
		{"Go", m.Go},
		{"load before the first run", Figure(m.LoadBefore)},
		{"append + fdatasync", fmt.Sprintf("%d B over written blocks: p50 %s µs, p99 %s µs, max %s µs (%d samples)",
			m.Sync.AppendBytes, Figure(m.Sync.P50Micros), Figure(m.Sync.P99Micros), Figure(m.Sync.MaxMicros), m.Sync.Samples)},
	}
}

// Describe reads the machine's description; dir is where data will lie. What
// cannot be found is "unknown". The sync latency is left to ProbeSync.
func Describe(dir string) Machine {
	m := Machine{
		CPU: procField("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Kernel: "unknown", Disk: "unknown", Filesystem: "unknown",
	}
	if kib, err := strconv.ParseInt(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.MemoryBytes = kib << 10
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(b), " ")
		m.LoadBefore, _ = strconv.ParseFloat(first, 64) // 0 when it cannot be read
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	var st unix.Stat_t
	if unix.Stat(dir, &st) == nil {
		id := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
		m.Disk, m.Filesystem = describeDisk(id), describeMount(id)
	}
	return m
}

// procField finds "key : value" in a file of /proc.
func procField(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// describeDisk names the block device with number id and its kind.
func describeDisk(id string) string {
	dev, err := filepath.EvalSymlinks("/sys/dev/block/" + id)
	if err != nil {
		return "device " + id
	}
	kind := "kind unknown"
	for _, d := range []string{dev, filepath.Dir(dev)} { // a partition's queue is its disk's
		b, err := os.ReadFile(filepath.Join(d, "queue", "rotational"))
		if err != nil {
			continue
		}
		kind = "rotating disk"
		if strings.TrimSpace(string(b)) == "0" {
			kind = "not rotating"
		}
		if c, err := os.ReadFile(filepath.Join(d, "queue", "write_cache")); err == nil {
			kind += ", cache " + strings.TrimSpace(string(c))
		}
		break
	}
	return filepath.Base(dev) + " (" + kind + ")"
}

// describeMount finds the mount with device number id: its type and options.
func describeMount(id string) string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		mount, super, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(mount), strings.Fields(super)
		if ok && len(f) > 5 && len(g) > 2 && f[2] == id {
			return g[0] + " (" + f[5] + "; " + g[2] + ")"
		}
	}
	return "unknown"
}
