package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options say what to start.
type Options struct {
	Kind Kind

	// BinDir is where Install put the programs.
	BinDir string

	// LeatPath is the leat binary; only for kind Leat.
	LeatPath string

	// SelfPath is this program; only for kind Bare.
	SelfPath string

	// DataRoot is the folder in which each process gets a fresh folder. All
	// processes of a comparison must have the same, so that they share a disk.
	DataRoot string

	// STAN asks that the server answers STAN clients before Start returns.
	STAN bool

	// ReadyMax is how long a server may take to serve. 0 means 30 seconds.
	ReadyMax time.Duration
}

// EnsureDefaults fills in what was left zero.
func (o *Options) EnsureDefaults() {
	if o.ReadyMax == 0 {
		o.ReadyMax = 30 * time.Second
	}
}

// A Process is a running server. Its methods are for one goroutine.
type Process struct {
	kind Kind
	dir  string
	url  string
	cmd  *exec.Cmd
	done chan struct{} // closed after the process was waited for
}

// Start runs a server and returns when it serves. The caller must Stop it.
func Start(ctx context.Context, o Options) (*Process, error) {
	o.EnsureDefaults()
	if err := os.MkdirAll(o.DataRoot, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for data: %w", err)
	}
	dir, err := os.MkdirTemp(o.DataRoot, string(o.Kind)+"-")
	if err != nil {
		return nil, fmt.Errorf("make a data folder: %w", err)
	}
	p, err := spawn(o, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := p.awaitReady(ctx, o); err != nil {
		err = fmt.Errorf("%w\nlast output of %s:\n%s", err, o.Kind, p.LogTail())
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// spawn starts the process without waiting for it to serve.
func spawn(o Options, dir string) (*Process, error) {
	port, httpPort, err := freePorts()
	if err != nil {
		return nil, err
	}
	args, err := o.Kind.command(dir, port, httpPort)
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(o.BinDir, o.Kind.Program())
	switch o.Kind {
	case Leat:
		bin = o.LeatPath
	case Bare:
		bin = o.SelfPath
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, fmt.Errorf("create the server's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor, and nothing is written to ours
	// Not bound to a context: a server is ended by Stop, politely first.
	cmd := exec.CommandContext(context.Background(), bin, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// A group of its own: an interrupt at the terminal reaches this program,
	// which then stops the server in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Kind, err)
	}
	p := &Process{
		kind: o.Kind, dir: dir, cmd: cmd, done: make(chan struct{}),
		url: "nats://127.0.0.1:" + strconv.Itoa(port),
	}
	go p.wait()
	return p, nil
}

// wait reaps the process; it ends when the process does.
func (p *Process) wait() {
	// The exit status says nothing that Stop's caller could use: a server that
	// was killed has a bad one.
	_ = p.cmd.Wait()
	close(p.done)
}

func (p *Process) awaitReady(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, o.ReadyMax)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := o.Kind.ready(ctx, p.url, o.STAN)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%w: %s ended", ErrNotReady, p.kind)
		case <-ctx.Done():
			return fmt.Errorf("%w: %s after %v: %w", ErrNotReady, p.kind, o.ReadyMax, err)
		case <-tick.C:
		}
	}
}

// URL is where clients connect.
func (p *Process) URL() string { return p.url }

// Stop ends the process, first politely, and removes its data.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	if err := os.RemoveAll(p.dir); err != nil {
		return fmt.Errorf("remove the data of %s: %w", p.kind, err)
	}
	return nil
}

// Alive tells whether the process still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// CPU is the processor time that the process has used, to 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", p.kind, err)
	}
	return parseStatCPU(string(b))
}

// parseStatCPU adds fields 14 and 15 (utime, stime) of /proc/PID/stat. The
// second field is a name in brackets that may hold anything, so count from its
// end. The unit is 1/100 s on every Linux that Go runs on.
func parseStatCPU(stat string) (time.Duration, error) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("parse /proc stat: %d fields after the name, want 13 or more", len(f))
	}
	var ticks int64
	for _, s := range f[11:13] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parse /proc stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// ResidentPeakBytes is the most memory that the process has had resident.
func (p *Process) ResidentPeakBytes() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", p.kind, err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read the memory of %s: no VmHWM", p.kind)
}

// LogTail is the end of what the server printed.
func (p *Process) LogTail() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(lastBytes(b, 2000))
}

// freePorts finds two ports that are free now. Another process could take one
// before the server does; the server then fails to start, which is an error,
// not a wrong figure.
func freePorts() (int, int, error) {
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, 0, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // at the end, so that the two differ
		addr, err := net.ResolveTCPAddr("tcp", l.Addr().String())
		if err != nil {
			return 0, 0, fmt.Errorf("find a free port: %w", err)
		}
		ports[i] = addr.Port
	}
	return ports[0], ports[1], nil
}
