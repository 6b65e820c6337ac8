package bed;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Thrift gateways of HBase 1.x inside this JVM. They know no stop; one that ends is a child process ({@link Children}). */
final class Gateways {
  Gateways(Cluster cluster) {}

  /** What a gateway's command line is made of, whether it runs here or in a process of its own. */
  static List<String> arguments(int port, List<String> flags) {
    List<String> arguments = new ArrayList<>(List.of("-p", String.valueOf(port), "-b", "127.0.0.1", "--infoport", "-1"));
    arguments.addAll(flags);
    arguments.add("start");
    return arguments;
  }

  /**
   * Starts a gateway of API 1 or 2 and returns its port (0 takes a free one). Flags are those of {@code hbase thrift};
   * one of the form {@code name=value} is a setting instead.
   */
  int start(String name, String api, int wanted, List<String> flags) throws Exception {
    int port = wanted == 0 ? Ports.free() : wanted;
    // Settings come first: the parser of generic options stops at the first word that it does not know.
    List<String> words = new ArrayList<>();
    List<String> switches = new ArrayList<>();
    for (String flag : flags) {
      if (flag.indexOf('=') > 0 && !flag.startsWith("-")) {
        words.addAll(List.of("-D", flag));
      } else {
        switches.add(flag);
      }
    }
    words.addAll(arguments(port, switches));
    Throwable[] failure = new Throwable[1];
    Thread thread = new Thread(() -> {
      try {
        String[] line = words.toArray(String[]::new);
        if (api.equals("1")) {
          org.apache.hadoop.hbase.thrift.ThriftServer.main(line);
        } else {
          org.apache.hadoop.hbase.thrift2.ThriftServer.main(line);
        }
      } catch (Throwable error) {
        failure[0] = error;
      }
    }, "gateway-" + name);
    thread.setDaemon(true);
    thread.start();
    Waiting.until(60, "gateway " + name + " on port " + port, () -> {
      if (!thread.isAlive()) {
        throw new java.io.IOException("gateway " + name + " ended at once", failure[0]);
      }
      return Ports.answers(port);
    });
    return port;
  }

  /** {@code gateway start NAME 1|2 PORT [flags...]} prints the port. */
  void addTo(Commands commands) {
    commands.add("gateway", 4, (words, out) -> {
      if (!words[1].equals("start")) {
        throw new IllegalArgumentException("gateway start: those of HBase 1.x are not stopped, spawn one instead");
      }
      out.println("port " + start(words[2], words[3], Integer.parseInt(words[4]),
          List.of(Arrays.copyOfRange(words, 5, words.length))));
    });
  }
}
