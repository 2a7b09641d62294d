// SPDX-License-Identifier: Apache-2.0

// The side of Go's channels of bench_pipeline: a goroutine a stage, a buffered channel between
// any two. One run a line:
//
//	TOPOLOGY BYTES CAPACITY COUNT    answers elements per second
//
// where TOPOLOGY is one_to_one, multicast:N, pipeline or diamond, as in lmax/src/Topology.java.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

type narrow int64
type wide [8]int64

// element is what topologies need of what they move.
type element[T any] interface {
	of(n int64) T
	value() int64
	add(n int64) T
	multiply(n int64) T
}

func (narrow) of(n int64) narrow         { return narrow(n) }
func (e narrow) value() int64            { return int64(e) }
func (e narrow) add(n int64) narrow      { return e + narrow(n) }
func (e narrow) multiply(n int64) narrow { return e * narrow(n) }

func (wide) of(n int64) wide { return wide{n, n, n, n, n, n, n, n} }
func (e wide) value() int64  { return e[0] ^ e[3] ^ e[7] }
func (e wide) add(n int64) wide {
	for i := range e {
		e[i] += n
	}
	return e
}
func (e wide) multiply(n int64) wide {
	for i := range e {
		e[i] *= n
	}
	return e
}

func produce[T element[T]](count int64, to ...chan T) {
	var make T
	for i := int64(0); i < count; i++ {
		each := make.of(i)
		for _, out := range to {
			out <- each
		}
	}
	for _, out := range to {
		close(out)
	}
}

func transform[T any, U any](in chan T, capacity int, function func(T) U) chan U {
	out := make(chan U, capacity)
	go func() {
		for each := range in {
			out <- function(each)
		}
		close(out)
	}()
	return out
}

func sum[T element[T]](in chan T, number int64) chan int64 {
	result := make(chan int64, 1)
	go func() {
		total := int64(0)
		for each := range in {
			total += each.value() ^ number
		}
		result <- total
	}()
	return result
}

func both(fizz chan bool, buzz chan bool) chan int64 {
	result := make(chan int64, 1)
	go func() {
		total := int64(0)
		for first := range fizz {
			if second := <-buzz; first && second {
				total++
			}
		}
		result <- total
	}()
	return result
}

func run[T element[T]](topology string, capacity int, count int64) float64 {
	consumers := 1
	switch {
	case strings.HasPrefix(topology, "multicast:"):
		consumers, _ = strconv.Atoi(strings.TrimPrefix(topology, "multicast:"))
	case topology == "diamond":
		consumers = 2
	}
	from := make([]chan T, consumers)
	for i := range from {
		from[i] = make(chan T, capacity)
	}
	expected := count * (count - 1) / 2
	var results []chan int64
	switch topology {
	case "pipeline":
		expected = 3 * (expected + 3*count)
		first := transform(from[0], capacity, func(e T) T { return e.add(3) })
		second := transform(first, capacity, func(e T) T { return e.multiply(3) })
		results = append(results, sum(second, 0))
	case "diamond":
		expected = (count + 14) / 15
		fizz := transform(from[0], capacity, func(e T) bool { return e.value()%3 == 0 })
		buzz := transform(from[1], capacity, func(e T) bool { return e.value()%5 == 0 })
		results = append(results, both(fizz, buzz))
	default:
		for i, each := range from {
			results = append(results, sum(each, int64(i)))
		}
	}
	started := time.Now()
	go produce(count, from...)
	for _, each := range results {
		if got := <-each; got != expected {
			panic(fmt.Sprint("wrong sum ", got))
		}
	}
	return float64(count) * 1e9 / float64(time.Since(started).Nanoseconds())
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		words := strings.Fields(in.Text())
		capacity, _ := strconv.Atoi(words[2])
		count, _ := strconv.ParseInt(words[3], 10, 64)
		if words[1] == "8" {
			fmt.Println(run[narrow](words[0], capacity, count))
		} else {
			fmt.Println(run[wide](words[0], capacity, count))
		}
	}
}
