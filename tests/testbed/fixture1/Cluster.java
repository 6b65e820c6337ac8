package bed;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.LocalHBaseCluster;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.master.HMaster;
import org.apache.hadoop.hbase.regionserver.HRegionServer;
import org.apache.hadoop.hbase.util.VersionInfo;
import org.apache.hadoop.hbase.zookeeper.MiniZooKeeperCluster;
import org.apache.hadoop.metrics2.lib.DefaultMetricsSystem;

/** ZooKeeper, the master and the region servers of an HBase 1.x in this JVM, and one native connection to them. */
final class Cluster {
  private static final Map<String, String> SETTINGS = Map.ofEntries(
      Map.entry("hbase.cluster.distributed", "false"),
      Map.entry("dfs.replication", "1"),
      // Loopback only.
      Map.entry("hbase.zookeeper.quorum", "127.0.0.1"),
      Map.entry("hbase.zookeeper.property.clientPortAddress", "127.0.0.1"),
      Map.entry("hbase.master.hostname", "127.0.0.1"),
      Map.entry("hbase.master.ipc.address", "127.0.0.1"),
      Map.entry("hbase.master.info.port", "-1"),
      Map.entry("hbase.regionserver.hostname", "127.0.0.1"),
      Map.entry("hbase.regionserver.ipc.address", "127.0.0.1"),
      Map.entry("hbase.regionserver.info.port", "-1"),
      Map.entry("hbase.thrift.info.port", "-1"),
      // A small machine that has to be ready soon.
      Map.entry("hbase.regionserver.handler.count", "8"),
      Map.entry("hbase.hregion.memstore.mslab.enabled", "false"),
      Map.entry("hbase.master.wait.on.regionservers.timeout", "1000"),
      Map.entry("hbase.master.wait.on.regionservers.interval", "200"),
      Map.entry("hbase.regionserver.msginterval", "300"),
      // The balancer would move regions under a test.
      Map.entry("hbase.balancer.period", "86400000"));

  private static final String CONTROLLER = "org.apache.hadoop.hbase.security.access.AccessController";
  /** Who may do what is asked at every call; the user of this JVM is the superuser. */
  private static final Map<String, String> ACCESS_CONTROL = Map.of(
      "hbase.security.authorization", "true",
      "hbase.security.exec.permission.checks", "true",
      "hbase.coprocessor.master.classes", CONTROLLER,
      "hbase.coprocessor.region.classes", CONTROLLER,
      "hbase.coprocessor.regionserver.classes", CONTROLLER);

  private final Configuration settings = HBaseConfiguration.create();
  private final Path folder;
  private final int regionServers;
  private final String session;
  private final boolean accessControl;
  private final boolean slabs;
  private MiniZooKeeperCluster zooKeeper;
  private LocalHBaseCluster servers;
  private Connection connection;

  Cluster(Path folder, int regionServers, String session, boolean accessControl, boolean slabs) {
    this.folder = folder;
    this.regionServers = regionServers;
    this.session = session;
    this.accessControl = accessControl;
    this.slabs = slabs;
  }

  /** Starts the servers and returns the port of ZooKeeper. {@link #awaitReady} comes next. */
  int start(int zooKeeperPort) throws Exception {
    int port = zooKeeperPort == 0 ? Ports.free() : zooKeeperPort;
    configure(port);
    zooKeeper = new MiniZooKeeperCluster(settings);
    zooKeeper.setDefaultClientPort(port);
    zooKeeper.startup(folder.resolve("zookeeper").toFile());
    if (zooKeeper.getClientPort() != port) {
      throw new IOException("ZooKeeper listens on " + zooKeeper.getClientPort() + " because " + port + " is taken");
    }
    // Two servers of one kind in a JVM would otherwise register the same metrics, and the second one aborts.
    DefaultMetricsSystem.setMiniClusterMode(true);
    servers = new LocalHBaseCluster(settings, 1, regionServers, HMaster.class, HRegionServer.class);
    servers.startup();
    return port;
  }

  /** Children of the bed, and gateways, find the same settings as {@code hbase-site.xml} on their class path. */
  private void configure(int zooKeeperPort) throws IOException {
    Configuration own = new Configuration(false);
    SETTINGS.forEach(own::set);
    if (accessControl) {
      ACCESS_CONTROL.forEach(own::set);
    }
    own.setBoolean("hbase.hregion.memstore.mslab.enabled", slabs);
    own.setInt("hbase.zookeeper.property.clientPort", zooKeeperPort);
    own.setInt("hbase.master.wait.on.regionservers.mintostart", regionServers);
    own.setInt("hbase.master.port", Ports.free());
    // LocalHBaseCluster gives each of several servers a port of its own.
    own.setInt("hbase.regionserver.port", regionServers > 1 ? 0 : Ports.free());
    own.set("zookeeper.session.timeout", session);
    own.set("hbase.rootdir", folder.resolve("hbase").toUri().toString());
    own.set("hbase.tmp.dir", folder.resolve("tmp").toString());
    own.forEach(entry -> settings.set(entry.getKey(), entry.getValue()));
    Files.createDirectories(folder.resolve("conf"));
    try (OutputStream file = Files.newOutputStream(folder.resolve("conf/hbase-site.xml"))) {
      own.writeXml(file);
    }
  }

  void awaitReady() throws Exception {
    while (servers.getActiveMaster() == null || !servers.getActiveMaster().isInitialized()) {
      Thread.sleep(20);
    }
    connection = ConnectionFactory.createConnection(settings);
    try (Admin admin = admin()) {
      admin.setBalancerRunning(false, true);
    }
  }

  Configuration settings() {
    return settings;
  }

  Connection connection() {
    return connection;
  }

  Admin admin() throws IOException {
    return connection.getAdmin();
  }

  /** How many region servers the master knows. */
  int liveServers() throws IOException {
    try (Admin admin = admin()) {
      return admin.getClusterStatus().getServersSize();
    }
  }

  String version() {
    return VersionInfo.getVersion();
  }

  void stop() throws IOException {
    if (connection != null) {
      connection.close();
      servers.shutdown();
      zooKeeper.shutdown();
    }
  }

  /** Region servers are not added or stopped here. */
  void addTo(Commands commands) {}
}
